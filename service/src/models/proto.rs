//! Of an ONNX file: what goes in and comes out, and what it must not hold.
//!
//! A file is a message of protocol buffers (`onnx.proto`): fields of a number and a wire type, nested. Only what is asked for is read; numbers
//! of fields are named where they are. External data is refused because it makes the model read other files, custom operators because they
//! are code that somebody would have to bring.

use std::collections::BTreeSet;
use std::fmt;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// Its name.
    pub name: String,
    /// What it is.
    pub ty: OutletType,
}

/// What an input or output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutletType {
    /// A tensor of elements; where the shape is known, its dimensions: none is one that is open.
    Tensor(Element, Option<Vec<Option<i64>>>),
    /// A list of maps to numbers, one for each row: what classifiers of scikit-learn give where nothing else is asked of the exporter.
    Maps,
    /// Something else.
    Other,
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Float,
    Double,
    Int32,
    Int64,
    String,
    Bool,
    Other,
}

impl fmt::Display for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.name)?;
        match &self.ty {
            OutletType::Tensor(element, shape) => {
                let name = match element {
                    Element::Float => "float",
                    Element::Double => "double",
                    Element::Int32 => "int32",
                    Element::Int64 => "int64",
                    Element::String => "string",
                    Element::Bool => "bool",
                    Element::Other => "of another type",
                };
                let Some(shape) = shape else { return write!(f, "{name}") };
                let dimensions = shape.iter().enumerate().map(|(i, d)| match (i, d) {
                    (_, Some(d)) => d.to_string(),
                    (0, None) => "N".to_owned(),
                    (_, None) => "?".to_owned(),
                });
                write!(f, "{name} [{}]", dimensions.collect::<Vec<_>>().join(", "))
            }
            OutletType::Maps => f.write_str("list of maps"),
            OutletType::Other => f.write_str("of another kind"),
        }
    }
}

/// What goes into a model and comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The inputs, but for those that have a value in the file.
    pub inputs: Vec<Outlet>,
    /// The outputs.
    pub outputs: Vec<Outlet>,
}

/// The operators that every onnxruntime has: those of ONNX itself.
const DOMAINS: [&str; 3] = ["", "ai.onnx", "ai.onnx.ml"];
/// Operators that give other answers to the same inputs.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];
/// How deep graphs may lie in graphs.
const DEPTH_MAX: usize = 32;

/// Reads a file. The error is a sentence.
pub fn read(bytes: &[u8]) -> Result<Interface, String> {
    let mut graph = None;
    for field in Fields(bytes) {
        match field? {
            // `opset_import`, with `domain`.
            (8, Piece::Bytes(opset)) => known_domain(text_of(opset, 1)?, None)?,
            // `graph`
            (7, Piece::Bytes(bytes)) => graph = Some(bytes),
            // `training_info`: `initialization`, `algorithm`
            (20, Piece::Bytes(training)) => {
                each(training, &[1, 2], &mut |g| inspect_graph(g, 0))?;
            }
            // `functions`, with `node`
            (25, Piece::Bytes(function)) => each(function, &[7], &mut |node| inspect_node(node, 0))?,
            _ => {}
        }
    }
    let graph = graph.ok_or_else(no_model)?;
    inspect_graph(graph, 0)?;
    interface(graph)
}

fn no_model() -> String {
    "it is no ONNX model, or it is cut short: export it again, and copy the file whole".to_owned()
}

fn known_domain(domain: &str, operator: Option<&str>) -> Result<(), String> {
    if DOMAINS.contains(&domain) {
        return Ok(());
    }
    let what = operator.map_or_else(|| "operators".to_owned(), |name| format!("the operator `{name}`"));
    Err(format!(
        "it uses {what} of `{domain}`, which is not ONNX's own: a model with custom operators is refused; export it with operators of `ai.onnx` \
         and `ai.onnx.ml` alone"
    ))
}

/// `GraphProto`
fn inspect_graph(graph: &[u8], depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("its graphs lie more than {DEPTH_MAX} deep in one another"));
    }
    // `initializer`
    each(graph, &[5], &mut inspect_tensor)?;
    // `sparse_initializer`
    each(graph, &[15], &mut inspect_sparse)?;
    // `node`
    each(graph, &[1], &mut |node| inspect_node(node, depth))
}

/// `NodeProto`: `domain`, `op_type`, `attribute`
fn inspect_node(node: &[u8], depth: usize) -> Result<(), String> {
    let operator = text_of(node, 4)?;
    known_domain(text_of(node, 7)?, Some(operator))?;
    if RANDOM.contains(&operator) {
        return Err(format!(
            "it uses the random operator `{operator}`: a model gives equal answers to equal inputs; export it for inference, without what is \
             only for training"
        ));
    }
    each(node, &[5], &mut |attribute| {
        // `t`, `tensors`
        each(attribute, &[5, 10], &mut inspect_tensor)?;
        // `sparse_tensor`, `sparse_tensors`
        each(attribute, &[22, 23], &mut inspect_sparse)?;
        // `g`, `graphs`
        each(attribute, &[6, 11], &mut |graph| inspect_graph(graph, depth + 1))
    })
}

/// `SparseTensorProto`: `values`, `indices`
fn inspect_sparse(tensor: &[u8]) -> Result<(), String> {
    each(tensor, &[1, 2], &mut inspect_tensor)
}

/// `TensorProto`: `external_data`, `data_location`
fn inspect_tensor(tensor: &[u8]) -> Result<(), String> {
    for field in Fields(tensor) {
        if let (13, _) | (14, Piece::Number(1..)) = field? {
            let name = text_of(tensor, 8)?;
            return Err(format!(
                "`{name}` has its data in another file: a model is one file; save it with all its data inside \
                 (`onnx.save(model, path, save_as_external_data=False)`)"
            ));
        }
    }
    Ok(())
}

fn interface(graph: &[u8]) -> Result<Interface, String> {
    let mut interface = Interface::default();
    let mut known = BTreeSet::new();
    // `initializer`, with `name`
    each(graph, &[5], &mut |tensor| {
        known.insert(text_of(tensor, 8)?.to_owned());
        Ok(())
    })?;
    // `input`
    each(graph, &[11], &mut |input| {
        let input = outlet(input)?;
        if !known.contains(&input.name) {
            interface.inputs.push(input);
        }
        Ok(())
    })?;
    // `output`
    each(graph, &[12], &mut |output| {
        interface.outputs.push(outlet(output)?);
        Ok(())
    })?;
    Ok(interface)
}

/// `ValueInfoProto`: `name`, `type`
fn outlet(info: &[u8]) -> Result<Outlet, String> {
    let name = text_of(info, 1)?.to_owned();
    let mut ty = OutletType::Other;
    each(info, &[2], &mut |bytes| {
        ty = outlet_type(bytes)?;
        Ok(())
    })?;
    Ok(Outlet { name, ty })
}

/// `TypeProto`
fn outlet_type(bytes: &[u8]) -> Result<OutletType, String> {
    for field in Fields(bytes) {
        match field? {
            // `tensor_type`
            (1, Piece::Bytes(tensor)) => return tensor_type(tensor),
            // `sequence_type`, with `elem_type`, which has `map_type`
            (4, Piece::Bytes(sequence)) => {
                let mut maps = false;
                each(sequence, &[1], &mut |element| {
                    each(element, &[5], &mut |_| {
                        maps = true;
                        Ok(())
                    })
                })?;
                return Ok(if maps { OutletType::Maps } else { OutletType::Other });
            }
            _ => {}
        }
    }
    Ok(OutletType::Other)
}

/// `TypeProto.Tensor`: `elem_type`, `shape`
fn tensor_type(tensor: &[u8]) -> Result<OutletType, String> {
    let (mut element, mut shape) = (Element::Other, None);
    for field in Fields(tensor) {
        match field? {
            (1, Piece::Number(n)) => {
                element = match n {
                    1 => Element::Float,
                    6 => Element::Int32,
                    7 => Element::Int64,
                    8 => Element::String,
                    9 => Element::Bool,
                    11 => Element::Double,
                    _ => Element::Other,
                }
            }
            (2, Piece::Bytes(bytes)) => {
                let mut dimensions = Vec::new();
                // `dim`, with `dim_value`
                each(bytes, &[1], &mut |dimension| {
                    let mut value = None;
                    for field in Fields(dimension) {
                        if let (1, Piece::Number(n)) = field? {
                            value = Some(n as i64).filter(|n| *n >= 0);
                        }
                    }
                    dimensions.push(value);
                    Ok(())
                })?;
                shape = Some(dimensions);
            }
            _ => {}
        }
    }
    Ok(OutletType::Tensor(element, shape))
}

/// Calls `f` with each nested message of some fields.
fn each<'a>(
    message: &'a [u8],
    numbers: &[u64],
    f: &mut dyn FnMut(&'a [u8]) -> Result<(), String>,
) -> Result<(), String> {
    for field in Fields(message) {
        if let (number, Piece::Bytes(bytes)) = field?
            && numbers.contains(&number)
        {
            f(bytes)?;
        }
    }
    Ok(())
}

/// A text; empty where it is left out.
fn text_of(message: &[u8], number: u64) -> Result<&str, String> {
    let mut text = "";
    for field in Fields(message) {
        if let (n, Piece::Bytes(bytes)) = field?
            && n == number
        {
            text = std::str::from_utf8(bytes).map_err(|_| no_model())?;
        }
    }
    Ok(text)
}

/// The fields of a message, each with its number.
struct Fields<'a>(&'a [u8]);

enum Piece<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Piece<'a>)> {
        let key = self.varint()?;
        let piece = match key & 7 {
            0 => Piece::Number(self.varint()?),
            1 => Piece::Bytes(self.bytes(8)?),
            2 => {
                let length = self.varint()?;
                Piece::Bytes(self.bytes(length)?)
            }
            5 => Piece::Bytes(self.bytes(4)?),
            _ => return None,
        };
        Some((key >> 3, piece))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Piece<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(no_model))
    }
}
