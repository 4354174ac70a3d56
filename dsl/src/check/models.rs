//! Models and `geoip`: the declarations of models, and where rules ask either.

use super::expr::widen;
use super::names::{Names, suggest};
use super::reach::Scope;
use super::rule::RuleCheck;
use super::schema::type_of;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, ExprKind, GeoipField, ModelRef};
use crate::schema::ModelType;
use crate::syntax::Span;
use crate::syntax::ast::{self, Arg, Call, Ident, ModelDecl, TypeExpr};
use crate::value::Type;

/// The most inputs of a model.
pub const INPUTS_MAX: usize = 256;

/// The declared models, in order of their names.
pub(super) fn models(names: &Names<'_>, found: &mut Vec<Diagnostic>) -> Vec<ModelType> {
    names.models.values().map(|decl| model(decl, found)).collect()
}

fn model(decl: &ModelDecl, found: &mut Vec<Diagnostic>) -> ModelType {
    let name = &decl.name;
    let mut inputs: Vec<(String, Type)> = Vec::new();
    for (i, (input, written)) in decl.inputs.iter().enumerate() {
        let ty = input_type(input, written, found);
        match decl.inputs[..i].iter().find(|(n, _)| n.text == input.text) {
            Some((first, _)) => {
                let text = format!("the input `{}` is declared twice", input.text);
                let finding = Diagnostic::new(Code::Duplicate, input.span, text);
                found.push(finding.label("here again").also(first.span, "first here"));
            }
            None => inputs.push((input.text.clone(), ty)),
        }
    }
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        let text = format!("a model has 1 to {INPUTS_MAX} inputs, and `{}` has {}", name.text, inputs.len());
        found.push(Diagnostic::new(Code::DataType, name.span, text));
    }
    if type_of(&decl.output, found).is_some_and(|ty| ty != Type::Float) || decl.output.optional {
        let text = "a model answers with a float";
        let help = "write `-> float`: a regression's value, or the probability of a classifier's second class";
        found.push(Diagnostic::new(Code::DataType, decl.output.span, text).help(help));
    }
    if super::calls::FORMS.contains(&name.text.as_str()) || crate::functions::find(&name.text).is_some() {
        let text = format!("`{}` is a function of the language, so no model is called that", name.text);
        found.push(Diagnostic::new(Code::Duplicate, name.span, text).help("give the model another name"));
    }
    ModelType { name: name.text.clone(), inputs, span: decl.span }
}

fn input_type(input: &Ident, written: &TypeExpr, found: &mut Vec<Diagnostic>) -> Type {
    let ty = type_of(written, found).unwrap_or(Type::Float);
    let refuse = |text: String, help: &str| Diagnostic::new(Code::DataType, written.span, text).help(help);
    if written.optional {
        let text = format!("`{}` is asked with a value: where it is missing, so is the score", input.text);
        found.push(refuse(
            text,
            "take away the `?`; where the model is to be asked all the same, write `x ?? 0.0` in the rule",
        ));
    }
    let help = match ty {
        Type::Bool | Type::Int | Type::Float | Type::Decimal | Type::String => return ty,
        Type::Timestamp => "declare what counts of it, as in `hour int`, and write `hour(e.at)` in the rule",
        Type::Duration => "declare it `float`, and write `d / 1s` in the rule",
        Type::Ip | Type::Cidr => "declare it `string`, and write `string(ip)` in the rule",
        Type::Geo | Type::List(_) => "an input is one bool, int, float, decimal or string",
    };
    found.push(refuse(format!("{ty} is no input of a model"), help));
    Type::Float
}

impl RuleCheck<'_> {
    /// How a declared model is asked: `takeover(amount: …, hour: …)`.
    pub fn example(&self, name: &str) -> String {
        let model = self.world.schema.models.iter().find(|m| m.name == name);
        let inputs = model.into_iter().flat_map(|m| &m.inputs).map(|(input, _)| format!("{input}: …"));
        format!("{name}({})", inputs.collect::<Vec<_>>().join(", "))
    }

    /// `takeover(amount: w.amount, hour: hour(w.at))`.
    pub fn score(&mut self, call: &Call, span: Span, scope: Scope) -> Option<Expr> {
        self.no_filter(call)?;
        let world = self.world;
        let id = world.schema.find_model(&call.name.text)?;
        let model = &world.schema.models[id.0 as usize];
        let mut inputs: Vec<Option<Expr>> = vec![None; model.inputs.len()];
        let mut given: Vec<Option<&Ident>> = vec![None; model.inputs.len()];
        let mut all_there = true;
        for arg in &call.args {
            let Some((place, name)) = self.input_of(model, arg) else {
                self.expr(&arg.value, scope, None);
                all_there = false;
                continue;
            };
            if let Some(first) = given[place].replace(name) {
                let text = format!("the input `{}` is given twice", name.text);
                let finding = Diagnostic::new(Code::WrongArguments, name.span, text);
                self.error(finding.label("here again").also(first.span, "first here"));
            }
            inputs[place] = self.input(model, place, &arg.value, scope);
        }
        let left_out: Vec<String> = given
            .iter()
            .zip(&model.inputs)
            .filter(|(given, _)| given.is_none())
            .map(|(_, (name, _))| format!("`{name}`"))
            .collect();
        if all_there && !left_out.is_empty() {
            let text = format!("`{}` is also asked with {}", model.name, left_out.join(" and "));
            let finding = Diagnostic::new(Code::WrongArguments, call.name.span, text).also(model.span, "declared here");
            self.error(finding.help(format!("write `{}`", self.example(&model.name))));
        }
        let inputs = inputs.into_iter().collect::<Option<Vec<Expr>>>()?;
        let model = ModelRef { id, name: model.name.clone(), inputs: model.inputs.clone() };
        Some(Expr { kind: ExprKind::Score { inputs, model }, ty: Type::Float, span })
    }

    /// Which of a model's inputs an argument is.
    fn input_of<'c>(&mut self, model: &ModelType, arg: &'c Arg) -> Option<(usize, &'c Ident)> {
        let Some(name) = &arg.name else {
            let text = format!("`{}` is asked with named inputs", model.name);
            let finding = Diagnostic::new(Code::WrongArguments, arg.value.span, text).also(model.span, "declared here");
            self.error(finding.help(format!("write `{}`", self.example(&model.name))));
            return None;
        };
        let place = model.inputs.iter().position(|(input, _)| *input == name.text);
        if place.is_none() {
            let text = format!("`{}` has no input `{}`", model.name, name.text);
            let finding = Diagnostic::new(Code::WrongArguments, name.span, text).also(model.span, "declared here");
            let names = model.inputs.iter().map(|(input, _)| input.as_str());
            self.error(suggest(finding, &name.text, name.span, names));
        }
        Some((place?, name))
    }

    /// The value of an input, of its declared type.
    fn input(&mut self, model: &ModelType, place: usize, value: &ast::Expr, scope: Scope) -> Option<Expr> {
        let (name, want) = &model.inputs[place];
        let value = self.expr(value, scope, Some(want))?;
        let (at, found) = (value.span, value.ty.clone());
        widen(value, want).or_else(|| {
            let text = format!("`{name}` of `{}` is {want}, and `{}` is {found}", model.name, self.text(at));
            let finding = Diagnostic::new(Code::TypesDiffer, at, text).also(model.span, "declared here");
            self.error(match (want, &found) {
                (Type::Float, Type::Decimal) => finding.help("write `float(x)`"),
                (Type::Decimal, Type::Float) => finding.help("write `decimal(x)`"),
                (Type::String, _) => finding.help("make a text of it with `string(x)`"),
                _ => finding,
            });
            None
        })
    }

    /// `geoip(ip)` without a field.
    pub fn whole_place(&mut self, call: &Call, span: Span, scope: Scope) {
        if self.address(call, scope).is_some() {
            let text = format!("`{}` is all that is known of an address, and a value is needed here", self.text(span));
            let help = format!("name a field of it: {}", fields());
            self.error(Diagnostic::new(Code::DataMisuse, span, text).help(help));
        }
    }

    /// `geoip(ip).country`.
    pub fn place_of(&mut self, call: &Call, field: &Ident, span: Span, scope: Scope) -> Option<Expr> {
        let address = self.address(call, scope);
        let found = self.geoip_field(field);
        let (address, field) = (address?, found?);
        Some(Expr { kind: ExprKind::Geoip(Box::new(address), field), ty: field.ty(), span })
    }

    fn geoip_field(&mut self, field: &Ident) -> Option<GeoipField> {
        let found = GeoipField::ALL.into_iter().find(|f| f.name() == field.text);
        if found.is_none() {
            let text = format!("`geoip` has no field `{}`", field.text);
            let finding = Diagnostic::new(Code::UnknownField, field.span, text);
            let names = GeoipField::ALL.map(GeoipField::name);
            self.error(suggest(finding, &field.text, field.span, names));
        }
        found
    }

    /// The address that `geoip` is asked about.
    fn address(&mut self, call: &Call, scope: Scope) -> Option<Expr> {
        self.no_filter(call)?;
        let [Arg { name: None, value }] = call.args.as_slice() else {
            let text = format!("`geoip` takes one address, not {} arguments", call.args.len());
            let text = if call.args.len() == 1 { "`geoip` takes its address without a name".to_owned() } else { text };
            let finding = Diagnostic::new(Code::WrongArguments, call.name.span, text);
            self.error(finding.help("write `geoip(ip).country`"));
            return None;
        };
        let found = self.expr(value, scope, Some(&Type::Ip))?;
        if found.ty == Type::Ip {
            return Some(found);
        }
        let text = format!("`geoip` takes an ip, and `{}` is {}", self.text(value.span), found.ty);
        let finding = Diagnostic::new(Code::WrongType, value.span, text);
        self.error(match found.ty {
            Type::String => finding.help("declare the field as an `ip`"),
            _ => finding,
        });
        None
    }

    /// What a test gives of addresses and networks.
    pub(super) fn given_geoip(&mut self, rows: &[(Vec<ast::Expr>, Vec<(Ident, ast::Expr)>)]) {
        for (key, fields) in rows {
            match key.as_slice() {
                [one] if super::tests::is_address(one) || super::tests::is_network(one) => {}
                key => {
                    let span = key.first().map_or(Span::default(), |k| k.span);
                    let text = "`geoip` knows addresses and networks";
                    let finding = Diagnostic::new(Code::WrongType, span, text);
                    self.error(finding.help("write `\"1.2.3.4\": { country: \"DE\" }`"));
                }
            }
            for (field, value) in fields {
                if let Some(known) = self.geoip_field(field) {
                    self.test_value(&format!("`{}`", field.text), value, &known.ty());
                }
            }
        }
    }
}

/// `.country`, `.city`, `.asn` or `.place`
fn fields() -> String {
    let [first, second, third, last] = GeoipField::ALL.map(|f| format!("`.{}`", f.name()));
    format!("{first}, {second}, {third} or {last}")
}
