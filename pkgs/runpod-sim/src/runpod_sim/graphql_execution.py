"""GraphQL execution that is quick about plain values, of which a long list is made.

The library builds a path, arguments and a resolver's information for each field. A
value that already lies in a dict under the field's name needs none of that; everything
else, errors too, goes the library's way.
"""

from typing import Any

from graphql import (
    ExecutionContext,
    FieldNode,
    GraphQLEnumType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
)
from graphql.pyutils import Path

Leaf = GraphQLScalarType | GraphQLEnumType


class QuickExecution(ExecutionContext):
    """Executes documents over dicts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._leaves: dict[GraphQLOutputType, Leaf | None] = {}

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_nodes: list[FieldNode],
        path: Path,
    ) -> Any:
        """Return a field's value as it is written out."""
        if type(source) is dict:
            name = field_nodes[0].name.value
            value = source.get(name)
            field = parent_type.fields.get(name)
            if value is not None and field is not None and not callable(value):
                leaf = self._leaf_of(field.type)
                if leaf is not None:
                    try:
                        return leaf.serialize(value)
                    except Exception:  # noqa: BLE001, S110 - the library reports it
                        pass
        return super().execute_field(parent_type, source, field_nodes, path)

    def _leaf_of(self, output: GraphQLOutputType) -> Leaf | None:
        try:
            return self._leaves[output]
        except KeyError:
            inner = output.of_type if isinstance(output, GraphQLNonNull) else output
            found = inner if isinstance(inner, Leaf) else None
            self._leaves[output] = found
            return found
