"""Safe YAML loading for recipes, options and cards: plain values only, with limited aliases."""

from typing import Any

import yaml

from palign_hf.errors import UserError, shown
from palign_hf.redact import redact


# Aliases (`*name`) may add at most this many values to the written ones. Ten lines of nested aliases can expand to
# more values than any memory holds.
MOST_ALIASED = 10_000


class YamlError(UserError):
    """Invalid or unsupported YAML; the message has the reason in one line."""


def load_yaml(text: str, repeated_keys: bool = False) -> Any:
    """Load the values of a YAML text. Duplicate keys are refused unless `repeated_keys`, which keeps the last."""
    try:
        loader = _Loader(text)
        loader.repeated_keys = repeated_keys
        root = loader.get_single_node()
        if root is None:
            return None
        _check_aliases(root)
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, yaml.MarkedYAMLError) and redact(text) != text:
            # YAML repeats what stands around its marks, cut: half a secret would not be masked.
            for mark in filter(None, (error.context_mark, error.problem_mark)):
                mark.buffer = None
        nested = "it is nested too deep" if isinstance(error, RecursionError) else ""
        raise YamlError(nested or shown(" ".join(str(error).split()), most=1000)) from error


class _Loader(yaml.SafeLoader):
    repeated_keys = False

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        seen: set[tuple[str, str]] = set()
        for key in () if self.repeated_keys else keys:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen and key.value != "<<":
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"the key `{key.value}` is given twice, again in line {line}")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _check_aliases(root: yaml.Node) -> None:
    """Refuse a document whose aliases expand too far, or that contains itself."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Number of values of the node with its aliases expanded."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_:
            raise yaml.YAMLError(f"the value of line {node.start_mark.line + 1} holds itself, by an alias")
        if id(node) not in sizes:
            open_.add(id(node))
            inner = node.value if isinstance(node, yaml.SequenceNode) else (one for pair in node.value for one in pair)
            sizes[id(node)] = 1 + sum(size(one) for one in inner)
            open_.remove(id(node))
        return sizes[id(node)]

    whole = size(root)
    written = _nodes(root)
    if whole - written > MOST_ALIASED:
        raise yaml.YAMLError(
            f"its aliases (`*name`) add more than {MOST_ALIASED} values to the {written} that are written: write out "
            f"the values that are needed"
        )


def _nodes(root: yaml.Node) -> int:
    """Number of written values."""
    found: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                waiting += [one for pair in node.value for one in pair]
    return len(found)
