"""ONNX Runtime and OpenVINO behind one interface.

`run()` computes once; with `profile`, `convolutions()` lists each run's seconds in convolutions.
Both compute in float32 on `threads` threads and take inputs of noise. A runtime is imported only when it is asked
for, so that the other one need not be installed.
"""

import json
import tempfile
from pathlib import Path

import numpy as np


def noise(shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


class OnnxRuntime:
    def __init__(self, model, threads, profile=False):
        import onnxruntime

        self.profiles = tempfile.TemporaryDirectory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_profiling = profile
        options.profile_file_prefix = str(Path(self.profiles.name) / "profile")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (given,) = self.session.get_inputs()
        self.inputs = {given.name: noise(given.shape)}
        self.runs = 0

    def run(self):
        self.session.run(None, self.inputs)
        self.runs += 1

    def convolutions(self):
        events = json.loads(Path(self.session.end_profiling()).read_text())
        kernels = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
        times = [1e-6 * e["dur"] for e in kernels if e["args"]["op_name"].endswith("Conv")]
        each = len(times) // self.runs
        return [sum(times[i : i + each]) for i in range(0, len(times), each)]


class OpenVino:
    def __init__(self, model, threads, profile=False):
        import openvino

        # As it comes it computes in bfloat16 where the CPU can.
        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERF_COUNT": profile,
        }
        compiled = openvino.Core().compile_model(str(model), "CPU", config)
        self.request = compiled.create_infer_request()
        self.inputs = [noise(list(compiled.input(0).shape))]
        self.profile, self.times = profile, []

    def run(self):
        self.request.infer(self.inputs, share_inputs=True, share_outputs=True)
        if self.profile:
            nodes = self.request.profiling_info
            self.times.append(sum(n.real_time.total_seconds() for n in nodes if "Convolution" in n.node_type))

    def convolutions(self):
        return self.times


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
