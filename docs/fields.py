"""An extension of the Python reference: it shows what the source says of the fields of classes.

A field's meaning is the comment behind it, or the text of its ``option(default, "meaning")``.
"""

import ast
from typing import Any

import griffe


class Fields(griffe.Extension):
    """Lists the fields of a class in its docstring; formulas and examples become blocks of code."""

    def on_class_members(self, *, node: Any, cls: griffe.Class, **rest: Any) -> None:
        """Called by griffe when it has read a class."""
        fields = [part for part in getattr(node, "body", []) if isinstance(part, ast.AnnAssign)]
        meanings = {ast.unparse(field.target): _meaning(field, cls) for field in fields}
        if cls.docstring and any(meanings.values()):
            lines = [f"    {name}: {meaning}" for name, meaning in meanings.items()]
            cls.docstring.value += "\n".join(["\n\nAttributes:", *lines])

    def on_function_instance(self, *, func: griffe.Function, **rest: Any) -> None:
        """Called by griffe for each function that it has read."""
        if func.docstring:
            text = func.docstring.value.replace(".. math::\n", "\n")
            func.docstring.value = text.replace("\nExample:\n", "\nExamples:\n")


def _meaning(field: ast.AnnAssign, cls: griffe.Class) -> str:
    """What a field means; empty if the source does not say it. Of an option, the default is kept as its value."""
    attribute = cls.members[ast.unparse(field.target)]
    match field.value:
        case ast.Call(func=ast.Name("option"), args=[default, ast.Constant(str() as meaning)]):
            attribute.value = griffe.safe_get_expression(default, parent=cls)
            return meaning
    lines = cls.lines_collection[cls.filepath][field.lineno - 1 : field.end_lineno]
    return " ".join(lines).partition("  # ")[2].strip()
