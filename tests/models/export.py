"""Trains small models of the kinds that people export, and writes each as NAME.onnx with NAME.json: how it is declared, and what
onnxruntime answers to some rows. The tests hold Lapwing's answers against these. Nothing runs this but a person who wants other models:

    python3 -m venv venv && venv/bin/pip install -r tests/models/requirements.txt && venv/bin/python tests/models/export.py
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import pandas
from lightgbm import LGBMClassifier
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as LooseFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

HERE = pathlib.Path(__file__).parent
COLUMNS = ["amount", "age", "count", "speed", "share"]
ROWS = 40
SIZE_MAX = 100_000


def numbers(seed, rows):
    """Rows of five numbers of different sizes, and whether each is of the class that counts."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [
            rng.lognormal(4, 1, rows),
            rng.uniform(18, 90, rows),
            rng.poisson(3, rows),
            rng.normal(0, 40, rows),
            rng.uniform(0, 1, rows),
        ]
    ).astype(np.float32)
    score = np.log(x[:, 0]) + x[:, 2] * x[:, 4] - x[:, 1] / 40 + np.abs(x[:, 3]) / 60
    return x, (score + rng.normal(0, 0.5, rows) > 5.2).astype(int)


def session(model):
    """One thread, as Lapwing runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def second(outputs):
    """The score of each row: a regression's value, or the second class's probability."""
    found = [o for o in outputs if not (isinstance(o, np.ndarray) and o.dtype.kind in "iOU")]
    assert len(found) == 1
    if isinstance(found[0], list):
        return [float(p[max(p)]) for p in found[0]]
    return [float(v) for v in np.asarray(found[0]).reshape(len(found[0]), -1)[:, -1]]


def write(name, model, declared, feed, rows):
    """The model, its declaration, and rows with answers."""
    data = model.SerializeToString()
    assert len(data) < SIZE_MAX, (name, len(data))
    (HERE / f"{name}.onnx").write_bytes(data)
    answers = second(session(model).run(None, feed))
    declaration = f"model {name}({', '.join(f'{n} {t}' for n, t in declared)}) -> float"
    lines = [json.dumps({"inputs": row, "output": answer}) for row, answer in zip(rows, answers)]
    (HERE / f"{name}.json").write_text(
        '{"declaration": %s, "rows": [\n%s\n]}\n' % (json.dumps(declaration), ",\n".join(lines))
    )
    print(f"{name}: {len(data)} bytes, answers from {min(answers):.4f} to {max(answers):.4f}")


def write_numeric(name, model):
    """A model whose only input takes all five numbers."""
    x, _ = numbers(2, ROWS)
    entry = model.graph.input[0].name
    rows = [dict(zip(COLUMNS, map(float, row))) for row in x]
    write(name, model, [(c, "float") for c in COLUMNS], {entry: x}, rows)


def takeover():
    """An input of its own for each: a float, an int and a string; for the example of the language page."""
    rng = np.random.default_rng(3)
    tiers = np.array(["basic", "gold", "silver"])
    rows = 2_000
    amount = rng.lognormal(5, 1, rows).astype(np.float32)
    hour = rng.integers(0, 24, rows)
    tier = tiers[rng.integers(0, 3, rows)]
    y = (np.log(amount) - 5 + (hour < 6) * 2.0 + (tier == "basic") * 0.7 + rng.normal(0, 0.4, rows) > 1.5).astype(int)
    frame = pandas.DataFrame({"amount": amount, "hour": hour, "tier": tier})
    columns = ColumnTransformer(
        [
            ("number", StandardScaler(), ["amount"]),
            ("hour", OneHotEncoder(handle_unknown="ignore"), ["hour"]),
            ("tier", OneHotEncoder(handle_unknown="ignore"), ["tier"]),
        ]
    )
    trained = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame, y)
    types = [
        ("amount", FloatTensorType([None, 1])),
        ("hour", Int64TensorType([None, 1])),
        ("tier", StringTensorType([None, 1])),
    ]
    model = to_onnx(trained, initial_types=types, options={"zipmap": False})
    amount, hour = amount[:ROWS], hour[:ROWS].astype(np.int64)
    # A tier that was never seen is no mistake.
    tier = np.array(["bronze", *tier[1:ROWS]], dtype=object)
    feed = {"amount": amount.reshape(-1, 1), "hour": hour.reshape(-1, 1), "tier": tier.reshape(-1, 1)}
    declared = [("amount", "float"), ("hour", "int"), ("tier", "string")]
    rows = [{"amount": float(a), "hour": int(h), "tier": t} for a, h, t in zip(amount, hour, tier)]
    write("takeover", model, declared, feed, rows)


def login_risk():
    """The example of `rules/`: made-up logins, in one tensor of an hour, a number of failures and whether the device is new."""
    rng = np.random.default_rng(4)
    rows = 4_000
    hour, failures = rng.integers(0, 24, rows), rng.poisson(0.5, rows)
    new = rng.uniform(0, 1, rows) < 0.2
    odd = (hour < 6) * 1.5 + failures * 0.6 + new * 1.2
    y = (odd + rng.normal(0, 0.5, rows) > 2.2).astype(int)
    x = np.column_stack([hour, failures, new]).astype(np.float32)
    trained = GradientBoostingClassifier(n_estimators=25, max_depth=3, random_state=0).fit(x, y)
    model = to_onnx(trained, x[:1], options={"zipmap": False})
    folder = HERE.parent.parent / "rules" / "data"
    (folder / "login_risk.onnx").write_bytes(model.SerializeToString())
    some = np.array([[3, 0, 0], [3, 2, 1], [14, 0, 0], [14, 5, 0], [23, 1, 1]], np.float32)
    answers = second(session(model).run(None, {model.graph.input[0].name: some}))
    golden = [
        json.dumps({"inputs": {"hour": int(h), "failures": int(f), "new_device": bool(n)}, "output": answer})
        for (h, f, n), answer in zip(some, answers)
    ]
    (folder / "login_risk.golden.json").write_text("[\n%s\n]\n" % ",\n".join(golden))
    print("login_risk:", answers)


def linear(name, weights, bias, outputs=1, domain="", rows="N", operator="Gemm"):
    """Weights times inputs, made by hand: for models that differ in nothing but a number, and for those that are refused."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, len(weights)])]
    result = [helper.make_tensor_value_info("score", TensorProto.FLOAT, [rows, outputs])]
    w = numpy_helper.from_array(np.repeat(np.array(weights, np.float32)[:, None], outputs, axis=1), "w")
    b = numpy_helper.from_array(np.full(outputs, bias, np.float32), "b")
    node = helper.make_node(operator, ["x", "w", "b"], ["score"], domain=domain)
    graph = helper.make_graph([node], name, inputs, result, [w, b])
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def refused():
    """Models that are no good, each in its way."""
    (HERE / "refused_custom.onnx").write_bytes(
        linear("custom", [1.0, 2.0], 0.5, domain="com.example", operator="Secret").SerializeToString()
    )
    (HERE / "refused_classes.onnx").write_bytes(linear("classes", [1.0, 2.0], 0.5, outputs=3).SerializeToString())
    (HERE / "refused_rows.onnx").write_bytes(linear("rows", [1.0, 2.0], 0.5, rows=4).SerializeToString())
    noise = helper.make_node("RandomUniformLike", ["x"], ["score"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in ("x", "score")]
    graph = helper.make_graph([noise], "noise", ends[:1], ends[1:])
    noise = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (HERE / "refused_random.onnx").write_bytes(noise.SerializeToString())
    outside = linear("outside", [1.0, 2.0], 0.5)
    for tensor in outside.graph.initializer:
        if tensor.name == "w":
            tensor.data_location = TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "weights.bin"
    (HERE / "refused_external.onnx").write_bytes(outside.SerializeToString())


def main():
    x, y = numbers(1, 3_000)
    plain = {"zipmap": False}
    forest = RandomForestClassifier(20, max_depth=6, random_state=0).fit(x, y)
    write_numeric("forest", to_onnx(forest, x[:1], options=plain))
    # As the exporter does it by itself: a map for each row.
    boosted = GradientBoostingClassifier(n_estimators=30, random_state=0).fit(x, y)
    write_numeric("boosted", to_onnx(boosted, x[:1]))
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    write_numeric("scaled", to_onnx(scaled, x[:1], options=plain))
    network = make_pipeline(StandardScaler(), MLPClassifier((17, 9), max_iter=400, random_state=0)).fit(x, y)
    write_numeric("network", to_onnx(network, x[:1], options=plain))
    regression = RandomForestRegressor(10, max_depth=6, random_state=0).fit(x, np.log(x[:, 0]) + x[:, 2])
    write_numeric("regression", to_onnx(regression, x[:1]))
    light = LGBMClassifier(n_estimators=30, num_leaves=12, random_state=0, verbose=-1).fit(x, y)
    types = [("input", LooseFloat([None, len(COLUMNS)]))]
    write_numeric("lightgbm", convert_lightgbm(light, initial_types=types, target_opset=15))
    extreme = XGBClassifier(n_estimators=30, max_depth=4, random_state=0).fit(x, y)
    write_numeric("xgboost", convert_xgboost(extreme, initial_types=types, target_opset=15))
    takeover()
    login_risk()
    refused()


if __name__ == "__main__":
    main()
