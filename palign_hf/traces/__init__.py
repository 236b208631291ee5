"""Teacher datasets -> TRACES: opens a source, recognizes its layout, and reads question, trace and gold answer.

* The trace is the text between `<think>` tags (or `<|begin_of_thought|>`), byte for byte; without tags, all of it.
* The answer is that of a known answer column, in any layout: its last box or a last `####`, else the whole of one
  short line (142.0 becomes "142"); else the answer marked so in the solution; else null. Where the dataset has neither
  column it is the answer in the teacher's own reply, which is counted and warned of.
* The id is that of an `id`, `uuid` or `unique_id` column, else a hash of question and trace.
* A row without a question or trace, or with a longer conversation, is dropped and counted under its reason. Values of
  a wrong type and repeated ids are errors. System prompts and all other columns are left out, and named in the report.

`load_traces` returns the table, `read_traces` the table and its `TraceReport`.
"""

from palign_hf.traces.layouts import KNOWN
from palign_hf.traces.load import load_traces, read_traces
from palign_hf.traces.report import TraceReport


__all__ = ["KNOWN", "TraceReport", "load_traces", "read_traces"]
