"""Engines and number formats on this machine: loading, probes and samples a second.

    python benchmarks/engines.py [--student palign-toy] [--problems 16] [--samples 3] [--tokens 512] [--only vllm]

Each engine loads the student in each number format, scores growing prefixes of the problems' traces, and samples
continuations. `transformers, one at a time` has as many slots as samples, and asks the next problem after the samples
of the one before. The last line has ratios: `batched_over_one` (tokens a second in the faster format),
`float32_over_bfloat16` (transformers, batched), `transformers_over_vllm_tokens` and `transformers_over_vllm_scores`
(each engine in its faster format), and what `engine=auto` and `dtype=auto` choose here.
"""

import argparse
import asyncio
import json
import os
import platform
import time
from typing import Any


def measured(student: str, engine: str, dtype: str, options: argparse.Namespace, alone: bool) -> dict[str, float]:
    """Seconds to the first answer, scores a second, and tokens a second of one engine in one format."""
    from palign_hf.engines.base import Sampling
    from palign_hf.generation.rendering import ChatPrompt
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.prompts import SOLVE
    from palign_hf.segmentation import cuts
    from palign_hf.toy.world.problems import toy_traces

    given: dict[str, Any] = {"dtype": dtype} | ({"max_num_seqs": options.samples} if alone else {})
    if engine == "vllm":
        given["enforce_eager"] = True
    traces = toy_traces("test", options.problems)
    with StudentRunner(student, engine=engine, engine_options=given, max_model_len=2048) as runner:
        read = runner.tokenizer
        chat = ChatPrompt(read, SOLVE, student)
        prompts = [[*chat.ids(row["question"])] for row in traces]
        growing = [[read.encode(row["question"] + row["trace"][:end]) for end in cuts(row["trace"])] for row in traces]

        async def score(place: int) -> int:
            for prompt in growing[place]:
                await runner.engine.score(prompt[:2000], (5, 6), str(place))
            return len(growing[place])

        async def sample(place: int) -> int:
            sampling = Sampling(options.tokens, temperature=1.0, n=options.samples, seed=place)
            found = await runner.engine.generate(prompts[place], sampling, str(place))
            return sum(len(one.token_ids) for one in found.samples)

        async def all_of(work: Any) -> int:
            if alone:
                return sum([await work(place) for place in range(len(prompts))])
            return sum(await asyncio.gather(*map(work, range(len(prompts)))))

        began = time.perf_counter()
        runner.run(runner.engine.score(prompts[0], (5, 6), "first"))
        found = {"load_s": time.perf_counter() - began}
        runner.run(sample(0))
        for name, work in (("scores_per_s", score), ("tokens_per_s", sample)):
            began = time.perf_counter()
            count = runner.run(all_of(work))
            found[name] = count / (time.perf_counter() - began)
        return found


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="palign-toy", help="folder or name (default: %(default)s)")
    parser.add_argument("--problems", type=int, default=16, help="problems in flight (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=3, help="samples of each (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=512, help="most tokens of a sample (default: %(default)s)")
    parser.add_argument("--only", choices=["transformers", "vllm"], help="one engine only")
    options = parser.parse_args()
    for name in ("problems", "samples", "tokens"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)} measures nothing: give 1 or more")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

    import torch

    from palign_hf.engines.options import make_engine
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.students import resolve_student

    there = sorted(name for name, has in torch.cpu.get_capabilities().items() if has is True)
    units = [name for name in there if name in ("avx2", "avx512_f") or "bf16" in name or name.startswith("amx")]
    print(f"{options.student} on {platform.machine()}, {os.cpu_count()} cores ({', '.join(units)})")
    print(f"{'engine':<32}{'format':<10}{'load s':>8}{'scores/s':>10}{'tokens/s':>10}", flush=True)
    found: dict[tuple[str, str, bool], dict[str, float]] = {}
    engines = [name for name in ("transformers", "vllm") if options.only in (None, name)]
    for engine in engines:
        for dtype in ("float32", "bfloat16"):
            for alone in (False, True) if engine == "transformers" else (False,):
                one = found[engine, dtype, alone] = measured(options.student, engine, dtype, options, alone)
                name = engine + (", one at a time" if alone else "")
                figures = f"{one['load_s']:>8.1f}{one['scores_per_s']:>10.1f}{one['tokens_per_s']:>10.0f}"
                print(f"{name:<32}{dtype:<10}{figures}", flush=True)

    def best(engine: str, figure: str, alone: bool = False) -> float:
        return max(one[figure] for (name, _, single), one in found.items() if (name, single) == (engine, alone))

    last: dict[str, Any] = {}
    if "transformers" in engines:
        last["batched_over_one"] = best("transformers", "tokens_per_s") / best("transformers", "tokens_per_s", True)
        formats = (found["transformers", kind, False]["tokens_per_s"] for kind in ("float32", "bfloat16"))
        last["float32_over_bfloat16"] = next(formats) / next(formats)
    if len(engines) == 2:
        for name in ("tokens", "scores"):
            ratio = best("transformers", f"{name}_per_s") / best("vllm", f"{name}_per_s")
            last[f"transformers_over_vllm_{name}"] = ratio
    last = {name: round(ratio, 2) for name, ratio in last.items()}
    last["auto"] = make_engine("auto", resolve_student(options.student).where).name
    if last["auto"] == "transformers":
        with StudentRunner(options.student) as runner:
            runner.run(runner.engine.score([5, 6, 7], (5, 6), "first"))
            identity = runner.identity()
            last["auto_dtype"] = identity.dtype if identity else None
    print(json.dumps(last))


if __name__ == "__main__":
    main()
