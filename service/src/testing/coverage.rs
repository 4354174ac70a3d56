//! What the tests of a rule have not tried: transitions of its automaton, in words.

use std::collections::BTreeSet;

use lapwing_dsl::program::Program;
use lapwing_engine::run::step::Transition;

/// The transitions of a rule that no test has taken, in words.
pub fn gaps(program: &Program, taken: Option<&BTreeSet<Transition>>) -> Vec<String> {
    let rule = &program.rule;
    let Some(taken) = taken else { return vec![format!("{}: it has no test", rule.name)] };
    let name = |step: lapwing_dsl::ir::StepId| rule.steps[step.0 as usize].name.as_str();
    let mut gaps = Vec::new();
    for (i, state) in program.nfa.states.iter().enumerate() {
        for (l, leaf) in state.leaves.iter().enumerate() {
            for (f, fork) in leaf.forks.iter().enumerate() {
                let from = lapwing_dsl::nfa::StateId(i as u16);
                let transition = Transition { from, leaf: l as u16, fork: f as u16 };
                if taken.contains(&transition) {
                    continue;
                }
                let target = match fork.target {
                    None => "complete".to_owned(),
                    Some(target) => {
                        let target = program.nfa.state(target);
                        let awaited: Vec<&str> = target.leaves.iter().map(|l| name(l.step)).collect();
                        if awaited.is_empty() {
                            "wait for time".to_owned()
                        } else {
                            format!("wait for {}", awaited.join(" or "))
                        }
                    }
                };
                let again = if leaf.again { "another" } else { "its first" };
                gaps.push(format!("{}: state {i} takes {again} `{}`, then {target}", rule.name, name(leaf.step)));
            }
        }
    }
    gaps
}
