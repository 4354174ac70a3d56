//! `corr` of two features: what they are worth is sampled at every event of the rule.

use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Aggregate, Expr, Window, WindowKey, WindowKind};
use crate::syntax::Span;
use crate::syntax::ast::{self, Arg, Call};

impl RuleCheck<'_> {
    /// Whether a call over a window is about features: the first argument is one.
    pub fn is_of_features(&self, call: &Call) -> bool {
        let first = call.args.first().map(|a| &a.value.kind);
        call.name.text == "corr"
            && matches!(first, Some(ast::ExprKind::Name(name)) if self.world.names.features.contains_key(name.as_str()))
    }

    /// `corr(f, g) over W`
    pub fn samples(&mut self, call: &Call, window: &ast::Window, span: Span) -> Option<Expr> {
        self.samples_fit(call, window, span)?;
        let [first, second] = call.args.as_slice() else {
            let text = "`corr` over a window takes two features, or two values of one event";
            self.error(Diagnostic::new(Code::WrongArguments, call.name.span, text));
            return None;
        };
        let values = [first, second].map(|arg| self.sampled(arg));
        let args: Vec<Expr> = values.into_iter().collect::<Option<_>>()?;
        let ty = self.aggregate_type(Aggregate::Corr, &args, call)?;
        let (reach, _) = self.reach(window, Scope::result())?;
        // Of all types of the rule one stands for them.
        let event = self.steps.first()?.event?;
        let kind = WindowKind::Over { aggregate: Aggregate::Corr, reach };
        Some(self.window(Window { kind, event, key: WindowKey::Input, filter: None, args, ty, span }))
    }

    /// What is sampled, as every event of the rule asks for it.
    fn sampled(&mut self, arg: &Arg) -> Option<Expr> {
        if let ast::ExprKind::Name(name) = &arg.value.kind
            && let Some(value) = self.feature(name, arg.value.span, Scope::result())
        {
            return value;
        }
        let text = format!("`corr` of a feature takes another one, and `{}` is none", self.text(arg.value.span));
        let finding = Diagnostic::new(Code::WrongArguments, arg.value.span, text);
        self.error(finding.help("name what is sampled: `feature mean = avg(payment.amount) by card over 1d`"));
        None
    }

    fn samples_fit(&mut self, call: &Call, window: &ast::Window, span: Span) -> Option<()> {
        let (place, text) = if self.feature.is_some() {
            (span, "features are sampled at the events of a rule, and a feature has none")
        } else if self.closing.is_some() {
            (span, "features are sampled at the events of a pattern, and this rule has none")
        } else if call.by.is_some() {
            (span, "the events of the rule are those of its key, so that the samples have no `by`")
        } else if let Some(filter) = &call.filter {
            (filter.span, "features are sampled at every event of the rule")
        } else if let ast::WindowKind::Delta(..) = window.kind {
            (window.span, "no event is counted here that has a value to move")
        } else {
            return Some(());
        };
        let help = "as in `corr(mean, most) over 1h` in the `where` or `when` of a pattern";
        self.error(Diagnostic::new(Code::WindowMisuse, place, text).help(help));
        None
    }
}
