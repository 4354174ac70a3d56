//! An ensemble of trees as an ONNX file, made by hand: as large as one wants, without a tool that trains it.

/// How many numbers a row has.
pub const COLUMNS: u64 = 12;

/// Whole trees of a depth, over [`COLUMNS`] numbers from 0 to 1: a regression whose answers lie between 0 and 1. `salt` makes others of them.
pub fn ensemble(trees: u64, depth: u32, salt: u64) -> Vec<u8> {
    let (inner, all) = ((1u64 << depth) - 1, (1u64 << (depth + 1)) - 1);
    let mut nodes = Nodes::default();
    for tree in 0..trees {
        for node in 0..all {
            let random = mixed(salt << 40 | tree << 20 | node);
            let leaf = node >= inner;
            nodes.trees.push(tree);
            nodes.ids.push(node);
            nodes.features.push(if leaf { 0 } else { random % COLUMNS });
            nodes.values.push(if leaf { 0.0 } else { (random >> 8 & 0xff) as f32 / 256.0 });
            nodes.modes.push(if leaf { "LEAF" } else { "BRANCH_LEQ" });
            nodes.trues.push(if leaf { 0 } else { 2 * node + 1 });
            nodes.falses.push(if leaf { 0 } else { 2 * node + 2 });
            if leaf {
                nodes.leaf_trees.push(tree);
                nodes.leaves.push(node);
                nodes.weights.push((random >> 16 & 0xffff) as f32 / 65_536.0 / trees as f32);
            }
        }
    }
    model(&nodes)
}

/// SplitMix64's last step: every number goes to another.
pub fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Default)]
struct Nodes {
    trees: Vec<u64>,
    ids: Vec<u64>,
    features: Vec<u64>,
    values: Vec<f32>,
    modes: Vec<&'static str>,
    trues: Vec<u64>,
    falses: Vec<u64>,
    leaf_trees: Vec<u64>,
    leaves: Vec<u64>,
    weights: Vec<f32>,
}

/// `ModelProto` with one `TreeEnsembleRegressor`.
fn model(nodes: &Nodes) -> Vec<u8> {
    let zeros = vec![0; nodes.leaves.len()];
    let node = [
        text(1, "x"),
        text(2, "variable"),
        text(4, "TreeEnsembleRegressor"),
        ints("n_targets", &[1], false),
        ints("nodes_treeids", &nodes.trees, true),
        ints("nodes_nodeids", &nodes.ids, true),
        ints("nodes_featureids", &nodes.features, true),
        floats("nodes_values", &nodes.values),
        texts("nodes_modes", &nodes.modes),
        ints("nodes_truenodeids", &nodes.trues, true),
        ints("nodes_falsenodeids", &nodes.falses, true),
        ints("target_treeids", &nodes.leaf_trees, true),
        ints("target_nodeids", &nodes.leaves, true),
        ints("target_ids", &zeros, true),
        floats("target_weights", &nodes.weights),
        text(7, "ai.onnx.ml"),
    ]
    .concat();
    let graph =
        [nested(1, &node), text(2, "trees"), nested(11, &outlet("x", COLUMNS)), nested(12, &outlet("variable", 1))]
            .concat();
    let opset = |domain: &str, version| [text(1, domain), number(2, version)].concat();
    let opsets = [nested(8, &opset("", 17)), nested(8, &opset("ai.onnx.ml", 3))].concat();
    [number(1, 8), nested(7, &graph), opsets].concat()
}

/// `AttributeProto` of ints (type 7) or of one int (type 2).
fn ints(name: &str, values: &[u64], several: bool) -> Vec<u8> {
    let (field, kind) = if several { (8, 7) } else { (3, 2) };
    let values: Vec<u8> = values.iter().flat_map(|v| number(field, *v)).collect();
    nested(5, &[text(1, name), values, number(20, kind)].concat())
}

/// `AttributeProto` of floats (type 6).
fn floats(name: &str, values: &[f32]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    nested(5, &[text(1, name), nested(7, &packed), number(20, 6)].concat())
}

/// `AttributeProto` of texts (type 8).
fn texts(name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|v| text(9, v)).collect();
    nested(5, &[text(1, name), values, number(20, 8)].concat())
}

/// `ValueInfoProto` of floats of shape `[N, columns]`.
fn outlet(name: &str, columns: u64) -> Vec<u8> {
    let shape = [nested(1, &text(2, "N")), nested(1, &number(1, columns))].concat();
    let tensor = [number(1, 1), nested(2, &shape)].concat();
    [text(1, name), nested(2, &nested(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn nested(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    nested(field, text.as_bytes())
}
