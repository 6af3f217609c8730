"""Schemas as the harness reads them: names resolved, nothing else."""

PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


class Node:
    """One type. `kind` is the specification's word; what else is set follows from it."""

    __slots__ = ("kind", "name", "of", "branches", "fields", "symbols", "size", "logical", "empty")

    def __init__(self, kind):
        self.kind = kind
        self.name = None
        self.of = None
        self.branches = self.fields = self.symbols = ()
        self.size = 0
        self.logical = None
        self.empty = False

    @property
    def word(self):
        """What Avro's JSON encoding calls it in a union."""
        return self.name or self.kind


def read(json):
    """The root of a schema; KeyError, TypeError or ValueError where it is more than is read here."""
    nodes = []
    root = _node(json, "", {}, nodes)
    for _ in nodes:
        # A type without bytes makes the types that hold nothing else so; each round finds the next ring of them.
        found = [node for node in nodes if not node.empty and _is_empty(node)]
        for node in found:
            node.empty = True
        if not found:
            break
    return root


def has_empty_items(node, seen=None):
    """Whether an array in it has items without bytes."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return False
    seen.add(id(node))
    inner = [node.of] if node.of else [*node.branches, *(of for _, of in node.fields)]
    return node.kind == "array" and node.of.empty or any(has_empty_items(of, seen) for of in inner)


def _is_empty(node):
    if node.kind == "fixed":
        return node.size == 0
    return node.kind == "null" or node.kind == "record" and all(of.empty for _, of in node.fields)


def _node(json, space, names, nodes):
    if isinstance(json, str):
        if json in PRIMITIVES:
            nodes.append(Node(json))
            return nodes[-1]
        full = f"{space}.{json}" if space and "." not in json else json
        return names[full] if full in names else names[json]
    if isinstance(json, list):
        node = Node("union")
        nodes.append(node)
        node.branches = [_node(branch, space, names, nodes) for branch in json]
        return node
    kind = json["type"]
    if not isinstance(kind, str) or kind not in {"array", "map", "record", "error", "enum", "fixed"}:
        node = _node(kind, space, names, nodes)
        if node.kind in PRIMITIVES:
            node.logical = json.get("logicalType")
        return node
    node = Node("record" if kind == "error" else kind)
    nodes.append(node)
    if kind in ("array", "map"):
        node.of = _node(json["items" if kind == "array" else "values"], space, names, nodes)
        return node
    name = json["name"]
    space = name.rpartition(".")[0] if "." in name else json.get("namespace", space)
    node.name = name if "." in name or not space else f"{space}.{name}"
    if node.name in names:
        raise ValueError("a name that is defined twice")
    names[node.name] = node
    if kind == "enum":
        node.symbols = json["symbols"]
    elif kind == "fixed":
        node.size, node.logical = json["size"], json.get("logicalType")
    else:
        node.fields = [(field["name"], _node(field["type"], space, names, nodes)) for field in json["fields"]]
    return node
