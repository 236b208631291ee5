"""The paper whose method this is, as cards cite it."""

PAPER = {
    "title": "Long-Chain Reasoning Distillation via Adaptive Prefix Alignment",
    "id": "2601.10064",
    "citation": (
        "@inproceedings{palign2026,\n"
        "  title     = {Long-Chain Reasoning Distillation via Adaptive Prefix Alignment},\n"
        "  author    = {Liu and Wu and Li and Yan and Wang and Chen and Gu and Yu and Sun},\n"
        "  booktitle = {Proceedings of the 64th Annual Meeting of the Association for Computational Linguistics\n"
        "               (Volume 1: Long Papers)},\n"
        "  pages     = {18041--18059},\n"
        "  year      = {2026},\n"
        "  note      = {arXiv:2601.10064}\n"
        "}"
    ),
}
