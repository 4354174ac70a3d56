//! Whether a model can be asked as it is declared, and how.

use lapwing_dsl::schema::ModelType;
use lapwing_dsl::value::Type;

use super::proto::{Element, Interface, Outlet, OutletType};

/// How a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What goes in.
    pub inputs: Inputs,
    /// What comes out.
    pub output: Output,
}

/// What goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// An input of its own for each declared one, in the order of the declaration.
    Each(Vec<Input>),
    /// One tensor with a column for each declared one.
    Whole {
        /// The input's name.
        name: String,
        /// Whether its numbers have 64 bits.
        double: bool,
    },
}

/// An input of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Of what.
    pub element: Element,
    /// Whether its shape is `[N, 1]`, and not `[N]`.
    pub column: bool,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The output's name.
    pub name: String,
    /// Where the score stands in it.
    pub place: Place,
}

/// Where the score of a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a tensor of floats; whether these have 64 bits.
    Tensor {
        /// They do.
        double: bool,
    },
    /// In the map of the row: the value of the last of two keys.
    Maps,
}

/// Outputs that are taken before others where there are several of numbers.
const SCORES: [&str; 5] = ["probabilities", "output_probability", "probability", "variable", "score"];

/// Holds a model against its declaration. The error is a sentence.
pub fn signature(model: &ModelType, found: &Interface) -> Result<Signature, String> {
    if let Some(odd) = found.inputs.iter().chain(&found.outputs).find(|outlet| outlet.ty == OutletType::Other) {
        return Err(format!("{odd} is no tensor: a model takes tensors and gives tensors, or a list of maps"));
    }
    Ok(Signature { inputs: inputs(model, found)?, output: output(found)? })
}

fn inputs(model: &ModelType, found: &Interface) -> Result<Inputs, String> {
    let named = |name: &str| found.inputs.iter().find(|input| input.name == name);
    if let [one] = found.inputs.as_slice()
        && (model.inputs.len() > 1 || named(&model.inputs[0].0).is_none())
    {
        return whole(model, one);
    }
    let declared = || model.inputs.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some((missing, _)) = model.inputs.iter().find(|(name, _)| named(name).is_none()) {
        return Err(format!(
            "it has no input `{missing}`: its inputs are {}, and `{}` is declared with {}; declare it with the model's names, or export it \
             with these",
            all(&found.inputs),
            model.name,
            declared()
        ));
    }
    if let Some(more) = found.inputs.iter().find(|input| !model.inputs.iter().any(|(name, _)| *name == input.name)) {
        return Err(format!(
            "it also has the input {more}, and `{}` is declared with {}; declare it, or export the model without it",
            model.name,
            declared()
        ));
    }
    let each = model.inputs.iter().map(|(name, ty)| input(model, ty, named(name).expect("all names were found")));
    Ok(Inputs::Each(each.collect::<Result<_, _>>()?))
}

/// One tensor that takes all declared inputs in order.
fn whole(model: &ModelType, input: &Outlet) -> Result<Inputs, String> {
    let count = model.inputs.len();
    let refuse = |why: String| Err(format!("its only input is {input}: {why}"));
    let (double, shape) = match &input.ty {
        OutletType::Tensor(Element::Float, shape) => (false, shape),
        OutletType::Tensor(Element::Double, shape) => (true, shape),
        _ => return refuse("one input that takes all declared ones is a tensor of floats".to_owned()),
    };
    if let Some((text, _)) = model.inputs.iter().find(|(_, ty)| *ty == Type::String) {
        let why = format!("it takes numbers alone, and `{text}` is a string; export the model with an input for each");
        return refuse(why);
    }
    match shape.as_deref() {
        None | Some([None, None]) => {}
        Some([None, Some(columns)]) if *columns == count as i64 => {}
        Some([None, Some(columns)]) => {
            let names: Vec<_> = model.inputs.iter().map(|(name, _)| format!("`{name}`")).collect();
            return refuse(format!(
                "it takes {columns} numbers a row, and `{}` is declared with {count}: {}; declare them all, in the order in which it was trained",
                model.name,
                names.join(", ")
            ));
        }
        Some([Some(rows), _]) => return refuse(fixed(*rows)),
        _ => return refuse(format!("its shape is [N, {count}] where it takes all declared inputs")),
    }
    Ok(Inputs::Whole { name: input.name.clone(), double })
}

fn fixed(rows: i64) -> String {
    format!("it takes {rows} rows at once and no others; export it with an open first dimension (`None`)")
}

/// An input of its own for one that is declared.
fn input(model: &ModelType, ty: &Type, found: &Outlet) -> Result<Input, String> {
    use Element as E;
    let refuse = |why: &str| {
        Err(format!("its input is {found}, and `{}` of `{}` is declared as {ty}: {why}", found.name, model.name))
    };
    let OutletType::Tensor(element, shape) = &found.ty else { return refuse("an input is a tensor") };
    let fits = match ty {
        Type::Bool => matches!(element, E::Bool | E::Int64 | E::Int32 | E::Float | E::Double),
        Type::Int => matches!(element, E::Int64 | E::Int32 | E::Float | E::Double),
        Type::Float | Type::Decimal => matches!(element, E::Float | E::Double),
        Type::String => *element == E::String,
        _ => false,
    };
    if !fits {
        return refuse(match element {
            E::String => "declare it as string",
            E::Int64 | E::Int32 => "declare it as int",
            E::Bool => "declare it as bool",
            E::Float | E::Double => "declare it as a number",
            E::Other => "it takes float, double, int64, int32, bool or string",
        });
    }
    let column = match shape.as_deref() {
        None | Some([None, None | Some(1)]) => true,
        Some([None]) => false,
        Some([Some(rows), ..]) => return refuse(&fixed(*rows)),
        _ => return refuse("its shape is [N, 1] or [N]"),
    };
    Ok(Input { name: found.name.clone(), element: *element, column })
}

fn output(found: &Interface) -> Result<Output, String> {
    let place = |output: &Outlet| match &output.ty {
        OutletType::Tensor(Element::Float, _) => Some(Place::Tensor { double: false }),
        OutletType::Tensor(Element::Double, _) => Some(Place::Tensor { double: true }),
        OutletType::Maps => Some(Place::Maps),
        _ => None,
    };
    let numbers: Vec<&Outlet> = found.outputs.iter().filter(|output| place(output).is_some()).collect();
    let named = || SCORES.iter().find_map(|name| numbers.iter().find(|output| output.name == *name));
    let Some(output) = (if numbers.len() == 1 { numbers.first() } else { named() }) else {
        let which = format!("its outputs are {}", all(&found.outputs));
        return Err(if numbers.is_empty() {
            format!(
                "it gives no score: {which}; a score is a float, of shape [N, 1], or the probabilities of two classes"
            )
        } else {
            format!("it gives several numbers: {which}; export it with one, or call it `score`")
        });
    };
    if let OutletType::Tensor(_, Some(shape)) = &output.ty {
        // How many rows it says it gives is not always true: a trial tells.
        if !matches!(shape.as_slice(), [] | [_] | [_, None | Some(1 | 2)]) {
            return Err(format!(
                "its output is {output}: a score is one number a row, [N, 1], or the probabilities of two classes, [N, 2]"
            ));
        }
    }
    let place = place(output).expect("it gives numbers");
    Ok(Output { name: output.name.clone(), place })
}

fn all(outlets: &[Outlet]) -> String {
    outlets.iter().map(Outlet::to_string).collect::<Vec<_>>().join(", ")
}
