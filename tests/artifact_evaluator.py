"""Runs an artifact, written from docs/artifact.md alone: NumPy, JSON and the onnx package.

Nothing of pvae_neuro is imported, and no random generator of NumPy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import onnx

MASK = (1 << 64) - 1
TYPES = {onnx.TensorProto.INT8: "<i1", onnx.TensorProto.INT16: "<i2", onnx.TensorProto.INT32: "<i4"}


class Evaluator:
    def __init__(self, path):
        data = Path(path).read_bytes()
        model = onnx.load_from_string(data)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        stored = self.metadata["pvae_neuro.checksum"]
        assert hashlib.sha256(data.replace(stored.encode(), b"0" * 64)).hexdigest() == stored
        assert self.metadata["pvae_neuro.schema_version"] == "3"
        self.program = json.loads(self.metadata["pvae_neuro.program"])
        self.golden = json.loads(self.metadata["pvae_neuro.golden"])
        self.tensors = {t.name: tensor(t) for t in model.graph.initializer if t.data_type in TYPES}
        assert self.metadata["pvae_neuro.program_hash"] == self.program_hash(model)
        self.populations = {p["name"]: p for p in self.program["populations"]}
        self.connections = {c["name"]: c for c in self.program["connections"]}

    def program_hash(self, model):
        remarks = ("choices", "measurements")
        program = {key: part for key, part in self.program.items() if key not in remarks}
        names = set(names_in(program))
        arrays = {
            t.name: {"sha256": hashlib.sha256(t.raw_data).hexdigest(), "shape": list(t.dims)}
            for t in model.graph.initializer
            if t.data_type in TYPES and t.name in names
        }
        text = json.dumps(
            {"arrays": arrays, "program": program},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        return hashlib.sha256(text.encode()).hexdigest()

    # ------------------------------------------------------------------------------ arrays

    def vector(self, value):
        return np.array([value], np.int64) if isinstance(value, int) else self.tensors[value][0]

    def weight(self, connection):
        shared = connection["shared"]
        if shared is None:
            stored = self.tensors[connection["weight"]]
            return stored[0] if connection["kind"] == "one_to_one" else stored
        stored = self.weight(self.connections[shared["connection"]])
        if connection["kind"] != "dense":
            return stored
        rows = slice(*shared["rows"]) if shared["rows"] else slice(None)
        columns = slice(*shared["columns"]) if shared["columns"] else slice(None)
        return stored[rows, columns].T if shared["transposed"] else stored[rows, columns]

    # --------------------------------------------------------------------------------- run

    def run(self, frames, iterations, seed, samples=None):
        """frames int [F, N, M]; returns {population.variable: int64 [T + 1, N, n]}."""
        count = frames.shape[1]
        self.seed, self.samples = seed, samples or range(count)
        self.state = {
            f"{p['name']}.{v['name']}": np.broadcast_to(
                self.vector(v["initial"]), (count, p["size"])
            )
            for p in self.program["populations"]
            for v in p["variables"]
        }
        inputs = {f"{e['population']}.{e['variable']}" for e in self.program["encodings"]}
        recorded = {name: [] for name in self.state if name not in inputs}
        step = 0
        for x in frames:
            for encoding in self.program["encodings"]:
                name = f"{encoding['population']}.{encoding['variable']}"
                self.state[name] = self.encoded(encoding, x)
            for _ in range(iterations):
                self.activations("iteration", step)
                for name, values in recorded.items():
                    values.append(self.state[name])
                step += 1
        self.activations("final", step)
        return {n: np.array([*values, self.state[n]]) for n, values in recorded.items()}

    def encoded(self, encoding, x):
        if encoding["weight"] is None:
            return x.astype(np.int64)
        total = x.astype(np.int64) @ self.tensors[encoding["weight"]].T
        return np.clip(shr(total, encoding["shift"]), -encoding["limit"], encoding["limit"])

    def activations(self, schedule, step):
        for activation in self.program[schedule]:
            population = self.populations[activation["population"]]
            name = population["name"]
            known = {"0": np.int64(0), "1": np.int64(1)}
            for variable in population["variables"]:
                known[variable["name"]] = self.state[f"{name}.{variable['name']}"]
            for constant in population["constants"]:
                known[constant["name"]] = self.vector(constant["values"])
            known.update(self.received(activation))
            programs = {p["name"]: p for p in population["programs"]}
            program = programs[activation["program"]]
            for i in program["instructions"]:
                arguments = [known[argument] for argument in i["arguments"]]
                if i["operation"] in ("word", "draw"):
                    words = self.words(population, step)
                    sampler = population["sampler"]
                    result = words if not arguments else draw(*arguments, words, sampler)
                else:
                    result = OPERATIONS[i["operation"]](*arguments)
                known[i["result"]] = result
            shape = len(self.samples), population["size"]
            for output in program["outputs"]:
                values = np.broadcast_to(known[output["value"]], shape)
                self.state[f"{name}.{output['variable']}"] = values

    def received(self, activation):
        totals, exponents = {}, {}
        for name in activation["connections"]:
            c = self.connections[name]
            values = self.state[f"{c['source']}.{c['variable']}"]
            part = CONNECTIONS[c["kind"]](c, self.weight(c).astype(np.int64), values)
            totals[c["received_as"]] = totals.get(c["received_as"], 0) + part
            exponents[c["received_as"]] = c["exponent"]
        return {name: shr(total, -exponents[name]) for name, total in totals.items()}

    def words(self, population, step):
        sampler, size = population["sampler"], population["size"]
        out = np.zeros((len(self.samples), size), np.int64)
        first = sampler["first"]
        for row, sample in enumerate(self.samples):
            words = {}
            for b in range(first // 16, (first + size - 1) // 16 + 1):
                for k, number in enumerate(
                    philox(self.seed, b + 1, step, sample, sampler["stream"])
                ):
                    for j in range(4):
                        words[16 * b + 4 * k + j] = (number >> (16 * j)) & 65535
            out[row] = [words[first + i] for i in range(size)]
        return out

    def reconstruction(self, values):
        readout = self.program["readout"]
        if readout["connection"] is not None:
            return values @ self.weight(self.connections[readout["connection"]]).T.astype(np.int64)
        if readout["weight"] is not None:
            return values @ self.tensors[readout["weight"]].T
        return values

    # ------------------------------------------------------------------------ golden vector

    def golden_differences(self):
        golden = self.golden
        size = self.program["input"]["size"]
        pixels = np.frombuffer(zlib.decompress(base64.b64decode(golden["pixels"])), "<i4")
        frames = pixels.reshape(1, golden["samples"], size)
        found = self.run(frames, golden["iterations"], golden["seed"])
        assert sorted(found) == sorted(golden["sha256"])
        return [
            (name, step)
            for name, hashes in golden["sha256"].items()
            for step, wanted in enumerate(hashes)
            if hashlib.sha256(found[name][step].astype("<i4").tobytes()).hexdigest() != wanted
        ]


def tensor(stored):
    values = np.frombuffer(stored.raw_data, TYPES[stored.data_type]).reshape(tuple(stored.dims))
    return values.astype(np.int64)


# ------------------------------------------------------------------------------ operations


def shr(a, n):
    n = np.asarray(n, np.int64)
    right, left = np.maximum(n, 0), np.maximum(-n, 0)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    return (a * (np.int64(1) << left) + half) >> right


def clz(a):
    length = sum((a >= (1 << k)).astype(np.int64) for k in range(23))
    return np.where(a < 0, 0, 24 - length)


OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b, n: shr(a * b, n),
    "shl": lambda a, n: shr(a, -n),
    "shr": shr,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "min": np.minimum,
    "max": np.maximum,
    "ge": lambda a, b: (a >= b).astype(np.int64),
    "select": lambda c, a, b: np.where(c != 0, a, b),
    "abs": np.abs,
    "neg": lambda a: -a,
    "clz": clz,
}


# ------------------------------------------------------------------------------ connections


def dense(c, weight, values):
    return values @ weight.T


def one_to_one(c, weight, values):
    return values * weight


def convolution(c, weight, values):
    pictures = values.reshape(len(values), *c["source_shape"])
    _, height, width = c["source_shape"]
    out = np.zeros((len(values), *c["target_shape"]), np.int64)
    for y, x, i, j, row, column in slides(c, weight, c["target_shape"]):
        if 0 <= row < height and 0 <= column < width:
            out[:, :, y, x] += pictures[:, :, row, column] @ weight[:, :, i, j].T
    return out.reshape(len(values), -1)


def transposed_convolution(c, weight, values):
    pictures = values.reshape(len(values), *c["source_shape"])
    _, height, width = c["target_shape"]
    out = np.zeros((len(values), *c["target_shape"]), np.int64)
    for y, x, i, j, row, column in slides(c, weight, c["source_shape"]):
        if 0 <= row < height and 0 <= column < width:
            out[:, :, row, column] += pictures[:, :, y, x] @ weight[:, :, i, j]
    return out.reshape(len(values), -1)


def slides(c, weight, shape):
    for y, x in np.ndindex(*shape[1:]):
        for i, j in np.ndindex(*weight.shape[2:]):
            row = c["stride"] * y + i - c["padding"]
            yield y, x, i, j, row, c["stride"] * x + j - c["padding"]


CONNECTIONS = {
    "dense": dense,
    "one_to_one": one_to_one,
    "convolution": convolution,
    "transposed_convolution": transposed_convolution,
}


# --------------------------------------------------------------------------------- sampling


def philox(seed, block, step, sample, stream):
    k0, k1 = seed, 0
    c0, c1, c2, c3 = block, step, sample, stream
    for _ in range(10):
        p, q = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (q >> 64) ^ c1 ^ k0, q & MASK, (p >> 64) ^ c3 ^ k1, p & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def names_in(value):
    """Every text in a value of JSON."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [name for part in parts for name in names_in(part)]


def draw(potential, words, sampler):
    most, bits = sampler["max_count"], sampler["frac_bits"]
    pairs = np.stack(np.broadcast_arrays(potential, words), -1).reshape(-1, 2).tolist()
    return np.array([count(u, w, most, bits) for u, w in pairs]).reshape(words.shape)


def rounded(a, n):
    return (a + ((1 << n) >> 1)) >> n


def exp2(f):
    v = 56766
    for coefficient in (218152, 1012684, 2906669, 4194315):
        v = rounded(v * f, 16) + coefficient
    return v


def count(u, w, max_count, frac_bits):
    q = 17 - max(0, max_count.bit_length() - 6)
    t = rounded(u * 6051102, frac_bits + 6)
    f = t % 65536
    r = rounded(exp2(f), 22 - q - (t - f) // 65536)
    x = rounded(r * 6051102, q + 6)
    g = -x % 65536
    p, s, c = exp2(g), (x + g) // 65536, 0
    for z in range(max_count + 1):
        c += rounded(p, s)
        if w < (c + 32) >> 6 or p == 0:
            return z
        product = p * rounded(r * ((2**23 + z + 1) // (2 * (z + 1))), 22)
        shift = q
        p = rounded(product, shift)
        while p >= 2**22 and s > 0:
            shift, s = shift + 1, s - 1
            p = rounded(product, shift)
    return max_count
