//! Declarations other than rules, and the steps of tests.

use super::expr::{key_part, timestamp_text};
use super::{Printer, WIDTH, is_name, quoted};
use crate::syntax::Span;
use crate::syntax::ast::{
    Decl, EventDecl, Expr, FieldDecl, Ident, StringLit, TableDecl, TestDecl, TestEvent, TestStep, TestStepKind,
    TypeExpr,
};

impl Printer<'_> {
    /// A declaration with the comments around it.
    pub fn decl(&mut self, decl: &Decl) {
        let span = decl.span();
        let blocky = matches!(decl, Decl::Event(_) | Decl::Table(_) | Decl::Rule(_) | Decl::Test(_));
        self.begin(span, if blocky { span.start } else { span.end }, 0);
        match decl {
            Decl::Event(event) => self.event(event),
            Decl::Table(table) => self.table(table),
            Decl::Rule(rule) => self.rule(rule),
            Decl::Test(test) => self.test(test),
            Decl::List(list) => self.out.push_str(&format!("list {} of {}", list.name.text, type_text(&list.ty))),
            Decl::Model(model) => {
                let inputs: Vec<String> =
                    model.inputs.iter().map(|(n, t)| format!("{} {}", n.text, type_text(t))).collect();
                let output = type_text(&model.output);
                self.out.push_str(&format!("model {}({}) -> {output}", model.name.text, inputs.join(", ")));
            }
            Decl::Feature(feature) => {
                let value = self.expr(&feature.expr);
                self.out.push_str(&format!("feature {} = {value}", feature.name.text));
            }
        }
        self.end(span.end);
    }

    fn event(&mut self, event: &EventDecl) {
        let mut head = format!("event {} ", event.name.text);
        let mut head_end = event.name.span.end;
        if let Some(source) = &event.source {
            let values: Vec<String> = source.values.iter().map(|v| self.literal(v, Span::default())).collect();
            head.push_str(&format!("from {} = {} ", quoted(&source.path.value), values.join(", ")));
            head_end = source.span.end;
        }
        self.fields(&head, head_end, &event.fields, event.span);
    }

    fn table(&mut self, table: &TableDecl) {
        let column = |(name, ty): &(Ident, Option<TypeExpr>)| match ty {
            Some(ty) => format!("{} {}", name.text, type_text(ty)),
            None => name.text.clone(),
        };
        let key: Vec<String> = table.key.iter().map(column).collect();
        let head_end = table.key.last().map_or(table.name.span.end, |(n, t)| t.as_ref().map_or(n.span, |t| t.span).end);
        self.fields(
            &format!("table {} key {} ", table.name.text, key.join(", ")),
            head_end,
            &table.columns,
            table.span,
        );
    }

    /// Fields on one line if they fit and hold no comments, else one a line with the types under each other.
    fn fields(&mut self, head: &str, head_end: u32, fields: &[FieldDecl], span: Span) {
        let all: Vec<String> = fields.iter().map(|f| format!("{} {}", f.name.text, self.field_rest(f))).collect();
        let line = if all.is_empty() { format!("{head}{{}}") } else { format!("{head}{{ {} }}", all.join("  ")) };
        if line.chars().count() <= WIDTH && !self.comment_inside(span.end) {
            return self.out.push_str(&line);
        }
        self.out.push_str(head);
        self.open(head_end);
        let width = fields.iter().map(|f| f.name.text.len()).max().unwrap_or(0) + 1;
        for field in fields {
            self.begin(field.span, field.span.end, 2);
            let rest = self.field_rest(field);
            self.out.push_str(&format!("{:<width$} {rest}", field.name.text));
            self.end(field.span.end);
        }
        self.close(span.end, 0);
    }

    fn field_rest(&self, field: &FieldDecl) -> String {
        let from: Vec<String> = field.from.iter().map(|p| self.path(p)).collect();
        let from = if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
        format!("{}{from}", type_text(&field.ty))
    }

    /// A path that was written in quotes keeps them.
    fn path(&self, path: &StringLit) -> String {
        let written = self.slice(path.span.start, path.span.end).is_some_and(|raw| raw.starts_with('"'));
        if is_name(&path.value) && !written { path.value.clone() } else { quoted(&path.value) }
    }

    fn test(&mut self, test: &TestDecl) {
        self.out.push_str(&format!("test {} {} ", test.rule.text, quoted(&test.name.value)));
        self.block(test.name.span.end, &test.steps, test.span.end, 0);
    }

    fn block(&mut self, head_end: u32, steps: &[TestStep], end: u32, indent: usize) {
        self.open(head_end);
        for step in steps {
            let nested = nested(&step.kind);
            let inner = if nested.is_some() { step.span.start } else { step.span.end };
            self.begin(step.span, inner, indent + 2);
            match nested {
                Some((head_end, steps)) => self.nested_step(step, head_end, steps, indent + 2),
                None => {
                    let text = self.simple_step(&step.kind);
                    self.out.push_str(&text);
                }
            }
            self.end(step.span.end);
        }
        self.close(end, indent);
    }

    /// A step that holds steps: on one line where it holds a single simple one.
    fn nested_step(&mut self, step: &TestStep, head_end: Option<u32>, steps: &[TestStep], indent: usize) {
        let head = self.step_head(&step.kind);
        if let [only] = steps
            && nested(&only.kind).is_none()
            && !self.comment_inside(step.span.end)
        {
            let line = format!("{head} {{ {} }}", self.simple_step(&only.kind));
            if line.chars().count() + indent <= WIDTH {
                return self.out.push_str(&line);
            }
        }
        self.out.push_str(&format!("{head} "));
        self.block(head_end.unwrap_or(step.span.start), steps, step.span.end, indent);
    }

    fn step_head(&self, kind: &TestStepKind) -> String {
        match kind {
            TestStepKind::After(duration, _) => format!("after {}", self.duration(duration)),
            TestStepKind::At(at, _) => format!("at {}", timestamp_text(*at)),
            TestStepKind::Repeat { count, every, .. } => {
                let every = every.as_ref().map(|d| format!(" every {}", self.duration(d))).unwrap_or_default();
                format!("repeat {count}{every}")
            }
            other => unreachable!("{other:?} holds no steps"),
        }
    }

    fn simple_step(&self, kind: &TestStepKind) -> String {
        match kind {
            TestStepKind::Event(event) => self.test_event(event),
            TestStepKind::Default(event) => format!("default {}", self.test_event(event)),
            TestStepKind::Watermark(duration) => format!("watermark {}", self.duration(duration)),
            TestStepKind::Expect { count: 0, fields } if fields.is_empty() => "expect none".to_owned(),
            TestStepKind::Expect { count, fields } if fields.is_empty() => format!("expect {count}"),
            TestStepKind::Expect { count, fields } => format!("expect {count} {}", self.pairs(fields)),
            TestStepKind::ExpectLate(count) => format!("expect late {count}"),
            TestStepKind::GivenList(name, items) => format!("given list {} {}", name.text, self.expr(items)),
            TestStepKind::GivenModel(name, value) => format!("given model {} -> {}", name.text, self.expr(value)),
            TestStepKind::GivenTable(name, rows) => format!("given table {} {}", name.text, self.rows(rows)),
            TestStepKind::GivenGeoip(rows) => format!("given geoip {}", self.rows(rows)),
            TestStepKind::After(..) | TestStepKind::At(..) | TestStepKind::Repeat { .. } => {
                unreachable!("written as a block")
            }
        }
    }

    fn test_event(&self, event: &TestEvent) -> String {
        format!("{} {}", event.event.text, self.pairs(&event.fields))
    }

    fn rows(&self, rows: &[(Vec<Expr>, Vec<(Ident, Expr)>)]) -> String {
        let rows: Vec<String> = rows.iter().map(|row| self.row(row)).collect();
        if rows.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", rows.join(", ")) }
    }

    fn row(&self, (key, columns): &(Vec<Expr>, Vec<(Ident, Expr)>)) -> String {
        let parts: Vec<String> = key.iter().map(|part| key_part(self, part)).collect();
        let key = if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(", ")) };
        format!("{key}: {}", self.pairs(columns))
    }
}

/// The steps inside a step, and where its head ends.
fn nested(kind: &TestStepKind) -> Option<(Option<u32>, &[TestStep])> {
    match kind {
        TestStepKind::After(duration, steps) => Some((Some(duration.span.end), steps)),
        TestStepKind::At(_, steps) => Some((None, steps)),
        TestStepKind::Repeat { every, steps, .. } => Some((every.map(|d| d.span.end), steps)),
        _ => None,
    }
}

fn type_text(ty: &TypeExpr) -> String {
    let element = ty.element.as_ref().map(|e| format!("<{}>", e.text)).unwrap_or_default();
    format!("{}{element}{}", ty.name.text, if ty.optional { "?" } else { "" })
}
