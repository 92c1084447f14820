"""Compare the simulator's GraphQL schema with a fuller reference, where one lies.

    graphql_agreement.py REFERENCE.graphql

What the simulator's schema has must be in the reference with the same names, types and
nullability. Prints each difference; exits 1 when there is one.
"""

import sys
from importlib import resources
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)


def compare_enums(own: GraphQLEnumType, reference: GraphQLEnumType) -> list[str]:
    """Return where the values of an enum differ."""
    return [
        f"{own.name}.{value}: in one of the two only"
        for value in sorted(set(own.values) ^ set(reference.values))
    ]


def compare_arguments(
    path: str, own: GraphQLField, reference: GraphQLField
) -> list[str]:
    """Return where the arguments of a field differ."""
    found = [
        f"{path}({name}): in one of the two only"
        for name in sorted(set(own.args) ^ set(reference.args))
    ]
    for name in set(own.args) & set(reference.args):
        ours, theirs = own.args[name], reference.args[name]
        if str(ours.type) != str(theirs.type):
            found.append(f"{path}({name}): {ours.type}, not {theirs.type}")
    return found


def compare_fields(
    own: GraphQLObjectType | GraphQLInputObjectType,
    reference: GraphQLObjectType | GraphQLInputObjectType,
) -> list[str]:
    """Return where the fields of a type differ; the reference may have more."""
    found = []
    for name, field in own.fields.items():
        path = f"{own.name}.{name}"
        theirs = reference.fields.get(name)
        if theirs is None:
            found.append(f"{path}: not in the reference")
            continue
        if str(field.type) != str(theirs.type):
            found.append(f"{path}: {field.type}, not {theirs.type}")
        if isinstance(field, GraphQLField) and isinstance(theirs, GraphQLField):
            found += compare_arguments(path, field, theirs)
    if isinstance(own, GraphQLInputObjectType):
        required = [
            name
            for name, field in reference.fields.items()
            if str(field.type).endswith("!") and name not in own.fields
        ]
        found += [f"{own.name}.{name}: required and missing" for name in required]
    return found


def compare_types(own: GraphQLNamedType, reference: GraphQLNamedType) -> list[str]:
    """Return where two types of the same name differ."""
    if type(own) is not type(reference):
        return [f"{own.name}: another kind of type"]
    if isinstance(own, GraphQLEnumType) and isinstance(reference, GraphQLEnumType):
        return compare_enums(own, reference)
    if isinstance(own, GraphQLObjectType | GraphQLInputObjectType) and isinstance(
        reference, GraphQLObjectType | GraphQLInputObjectType
    ):
        return compare_fields(own, reference)
    return []


def differences(own: GraphQLSchema, reference: GraphQLSchema) -> list[str]:
    """Return every difference."""
    found = []
    for name, own_type in own.type_map.items():
        if name.startswith("__"):
            continue
        theirs = reference.type_map.get(name)
        if theirs is None:
            found.append(f"{name}: not in the reference")
        else:
            found += compare_types(own_type, theirs)
    return sorted(found)


def main() -> int:
    """Compare and report."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a script
        return 2
    own = (resources.files("runpod_sim") / "schema.graphql").read_text()
    reference = Path(sys.argv[1]).read_text()
    schema = build_schema(own)
    found = differences(schema, build_schema(reference))
    types = [t for name, t in schema.type_map.items() if not name.startswith("__")]
    fields = sum(len(getattr(t, "fields", ())) for t in types)
    for line in found:
        print(line)  # noqa: T201 - a script
    print(  # noqa: T201 - a script
        f"{len(types)} GraphQL types, {fields} fields, {len(found)} differences"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
