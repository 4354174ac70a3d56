//! The examples of every function: what the reference shows is what the function gives.

use lapwing_dsl::functions::all;
use lapwing_dsl::ir::{Comparison, Expr, ExprKind};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_dsl::value::Value;

/// The value of an expression of constants, by the kinds that examples use.
fn value(e: &Expr) -> Value<'static> {
    match &e.kind {
        ExprKind::Const(v) => v.clone(),
        ExprKind::List(items) => Value::List(items.iter().map(value).collect::<Vec<_>>().into()),
        ExprKind::Call(function, args) => {
            let args: Vec<Value<'_>> = args.iter().map(value).collect();
            function.call(&args).unwrap_or(Value::Missing)
        }
        ExprKind::IsMissing(a) => Value::Bool(value(a).is_missing()),
        ExprKind::InValue(a, list) => match value(list) {
            Value::List(items) => Value::Bool(items.contains(&value(a))),
            _ => Value::Missing,
        },
        ExprKind::Compare(op, a, b) => {
            let order = value(a).compare(&value(b));
            Value::Bool(match op {
                Comparison::Eq => order.is_some_and(|o| o.is_eq()),
                Comparison::Gt => order.is_some_and(|o| o.is_gt()),
                other => panic!("examples do not use {other:?}"),
            })
        }
        other => panic!("examples do not use {other:?}"),
    }
}

fn check(example: &str, expected: &str) {
    let text = format!(
        "event e {{ at timestamp }}\nrule r {{\n  by at\n  match e\n  emit {{ got: {example}, want: {expected} }}\n}}\n"
    );
    let mut sources = Sources::new();
    sources.add("example.lap", text);
    let loaded = load(&sources);
    assert!(!loaded.has_errors(), "{example}: {:?}", loaded.diagnostics);
    let emit = &loaded.programs[0].rule.emit;
    let (got, want) = (value(&emit[0].1), value(&emit[1].1));
    assert_eq!(got, want, "{example}");
}

#[test]
fn examples_hold() {
    for function in all() {
        assert!(!function.examples.is_empty(), "`{}` has no example", function.name);
        for (example, expected) in function.examples {
            check(example, expected);
        }
    }
}

#[test]
fn names_are_unique_and_words() {
    let mut names: Vec<&str> = all().map(|f| f.name).collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(before, names.len());
    assert!(all().all(|f| !f.about.ends_with('.')));
}

#[test]
fn distances_are_those_of_the_sphere() {
    let quarter = lapwing_dsl::functions::find("distance_km").expect("it is there").eval;
    let args = [Value::Geo(0.0, 0.0), Value::Geo(90.0, 0.0)];
    let Ok(Value::Float(km)) = quarter(&args) else { panic!("a number") };
    assert!((km - 6371.0 * std::f64::consts::FRAC_PI_2).abs() < 1e-9);
}
