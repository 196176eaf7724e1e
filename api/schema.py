"""The OpenAPI document: what each route has declared beside itself, see `api.http.contract`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute
from msgspec import Struct, inspect

from api.http.contract import JSON, KEY, Contract, RouteReply, find_status
from api.http.errors import CLIENT_CLOSED_STATUS, BodyTooLarge, ErrorBody, RateLimited, UnknownCoding
from api.http.field_rules import NEUTRAL, Json, Rule, Rules
from api.http.forms import FormBody
from api.http.settle import JsonBody, Wire
from api.transport.refused import (
    BODY_INCOMPLETE,
    CROWDED,
    HEAD_TOO_LARGE,
    MALFORMED,
    NO_HOST,
    TARGET_TOO_LONG,
    TOO_SLOW,
)
from core.errors import ServerStopping

Schema = dict[str, Any]
"""A part of a JSON document."""
COMPONENTS: Final = "#/components/schemas/{name}"
FORM: Final = "multipart/form-data"
GROUNDS: Final = (MALFORMED, NO_HOST, BODY_INCOMPLETE, TOO_SLOW, TARGET_TOO_LONG, HEAD_TOO_LARGE, CROWDED)
"""On which a connection is ended before any route is asked."""
AT_THE_DOOR: Final = (
    *((400, "repeated_header"), (403, "host_not_allowed"), (403, "origin_not_allowed"), (500, "internal")),
    *(BodyTooLarge, UnknownCoding, ServerStopping),
)
WITHOUT_KEY: Final = ((401, "missing_api_key"), (401, "invalid_api_key"), RateLimited)
WORDS: Final = {CLIENT_CLOSED_STATUS: "The request was cancelled", 529: "Overloaded"}
"""What statuses mean that are not HTTP's own."""


def configure_openapi(version: str) -> OpenAPIConfig:
    """At /schema and /schema/openapi.json, as plain JSON: nothing that fetches scripts from elsewhere."""
    return OpenAPIConfig(
        title="benchtop",
        version=version,
        path="/schema",
        render_plugins=[_Renderer(path=["/openapi.json", "/"])],
    )


class _Renderer(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: Schema) -> bytes:
        routes = [route for route in request.app.routes if isinstance(route, HTTPRoute)]
        return msgspec.json.encode(describe_routes(openapi_schema, routes))


def describe_routes(document: Schema, routes: Iterable[HTTPRoute]) -> Schema:
    """Litestar's `document` with what the handlers of `routes` have declared; the argument is left as it was.

    Of a route's several paths the first one is told.
    """
    declared = dict(_list_declared(routes))
    kinds = {kind for _, contract in declared.values() for kind in _kinds(contract)} | {ErrorBody}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    references, schemas = msgspec.json.schema_components(ordered, ref_template=COMPONENTS)
    refer = dict(zip(ordered, references, strict=True))
    paths: defaultdict[str, Schema] = defaultdict(dict)
    for (path, method), (handler, contract) in sorted(declared.items(), key=lambda item: item[0]):
        known = document["paths"][path][method.lower()]
        paths[path][method.lower()] = _operation(known, handler, contract, refer)
    return {
        "openapi": document["openapi"],
        "info": document["info"],
        "paths": paths,
        "components": {
            "schemas": _with_rules(schemas, ordered),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _list_declared(routes: Iterable[HTTPRoute]) -> Iterator[tuple[tuple[str, str], tuple[HTTPRouteHandler, Contract]]]:
    """Handlers with their contracts, by path and method."""
    for route in routes:
        for handler in route.route_handlers:
            contract = handler.opt.get(KEY)
            if isinstance(contract, Contract) and _is_listed(route.path, handler.paths):
                for method in handler.http_methods:
                    yield (route.path_format, str(method)), (handler, contract)


def _is_listed(path: str, paths: Collection[str]) -> bool:
    """Of a handler's paths the one below `/v1/` stands in the document, and the first where there is none."""
    if any(each.startswith("/v1/") for each in paths):
        return path.startswith("/v1/")
    return path == min(paths)


def _kinds(contract: Contract) -> Iterator[type]:
    for reply in contract.replies:
        yield from (kind for kind in reply.forms.values() if kind is not None)
    yield contract.errors.body
    if isinstance(contract.body, JsonBody):
        yield contract.body.kind


def _operation(known: Schema, handler: HTTPRouteHandler, contract: Contract, refer: Mapping[type, Schema]) -> Schema:
    name = getattr(handler.fn, "__name__", "")
    operation: Schema = {
        "operationId": name,
        "summary": known.get("summary", ""),
        "responses": _merge_replies(_errors(contract, refer), _successes(contract.replies, refer)),
    }
    if parameters := known.get("parameters"):
        operation["parameters"] = [_parameter(each, contract) for each in parameters]
    if contract.body is not None:
        operation["requestBody"] = {"required": True, "content": _body(contract.body, refer)}
    if contract.needs_key:
        # A server without a key asks for none.
        operation["security"] = [{}, {"key": []}]
    return operation


def _merge_replies(errors: Mapping[str, Schema], replies: Mapping[str, Schema]) -> dict[str, Schema]:
    """By status; where a status stands for both, either may come."""
    out = dict(errors)
    for status, reply in replies.items():
        out[status] = reply
        if (error := errors.get(status)) is not None:
            either = [each["content"][JSON]["schema"] for each in (reply, error)]
            words = f"{reply['description']}. {error['description']}"
            out[status] = {"description": words, "content": {JSON: {"schema": {"anyOf": either}}}}
    return dict(sorted(out.items()))


def _parameter(known: Schema, contract: Contract) -> Schema:
    kept = {name: known[name] for name in ("name", "in", "required")}
    schema = dict(known["schema"])
    if "oneOf" in schema:
        # In an address there is no null.
        schema = next(each for each in schema["oneOf"] if each != {"type": "null"})
    return kept | {"schema": schema | dict(contract.parameters.get(known["name"], {}))}


def _successes(replies: Iterable[RouteReply], refer: Mapping[type, Schema]) -> dict[str, Schema]:
    """By status; forms of one media type are alternatives."""
    words: defaultdict[str, list[str]] = defaultdict(list)
    forms: defaultdict[str, defaultdict[str, list[Schema]]] = defaultdict(lambda: defaultdict(list))
    for reply in replies:
        words[str(reply.status)].append(reply.words)
        for media, kind in reply.forms.items():
            one: Schema = {"type": "string"} if kind is None else refer[kind]
            forms[str(reply.status)][media].append({"type": "array", "items": one} if reply.listed else one)
    return {
        status: {
            "description": "; ".join(told),
            "content": {media: {"schema": _join_schemas(each)} for media, each in forms[status].items()},
        }
        for status, told in words.items()
    }


def _errors(contract: Contract, refer: Mapping[type, Schema]) -> dict[str, Schema]:
    codes: defaultdict[int, set[str]] = defaultdict(set)
    bodies: defaultdict[int, dict[type[Struct], Schema]] = defaultdict(dict)
    door = (*AT_THE_DOOR, *(WITHOUT_KEY if contract.needs_key else ()))
    for ground in GROUNDS:
        # Of such a request it is not known yet which dialect it is in.
        codes[ground.status].add(ground.code)
        bodies[ground.status][ErrorBody] = refer[ErrorBody]
    for status, code in map(find_status, (*door, *contract.outcomes)):
        own = contract.errors.choose_status(status)
        codes[own] |= {code} if code and contract.errors.tells_codes else set()
        bodies[own][contract.errors.body] = refer[contract.errors.body]
    return {
        str(status): {
            "description": _words(status, sorted(codes[status])),
            "content": {JSON: {"schema": _join_schemas([*known.values()])}},
        }
        for status, known in bodies.items()
    }


def _join_schemas(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _words(status: int, codes: list[str]) -> str:
    meaning = WORDS.get(status) or HTTPStatus(status).phrase
    return f"{meaning}; `code` may be {', '.join(codes)}" if codes else meaning


def _body(body: JsonBody[Struct] | FormBody, refer: Mapping[type, Schema]) -> Schema:
    if isinstance(body, JsonBody):
        return {JSON: {"schema": refer[body.kind]}}
    fields = {name: dict(schema) for name, schema in body.fields.items()}
    schema = {"type": "object", "properties": fields, "required": list(body.required)}
    also = {"allOf": list(body.together)} if body.together else {}
    return {FORM: {"schema": schema | _describe_further_fields(body.rules, fields, ("",)) | also}}


def _describe_further_fields(rules: Rules, properties: Schema, nothing: tuple[Json, ...]) -> Schema:
    """What is taken beside the fields that are read: those with a rule, and any that ask for `nothing`."""
    ruled = {name: _of_rule(rule, nothing) for name, rule in rules.items()}
    return {"properties": ruled | properties, "additionalProperties": {"enum": list(nothing)}}


def _of_rule(rule: Rule, nothing: tuple[Json, ...]) -> Schema:
    """What is not refused. Where null is not `nothing`, as in a form, all values are texts."""
    if rule.told:
        kind = {} if None in nothing else {"type": "string"}
        return {"description": "Changes nothing here."} | kind
    values = (*nothing[:1], *rule.neutral)
    return {"enum": [value for at, value in enumerate(values) if value not in values[:at]]}


def _with_rules(schemas: Mapping[str, Schema], kinds: Iterable[type[Struct]]) -> dict[str, Schema]:
    """The schemas of requests take what the rules take, and lack the parts that are refused whatever they say."""
    parts = {part.__name__: part for kind in kinds for part in _parts(inspect.type_info(kind))}
    refused = {COMPONENTS.format(name=name) for name, part in parts.items() if part.refused}
    out: dict[str, Schema] = {}
    for name, schema in schemas.items():
        if COMPONENTS.format(name=name) in refused:
            continue
        whole = _drop_refused(schema, refused)
        if (part := parts.get(name)) is not None:
            typed = whole["properties"] | part.field_schemas
            properties = {field: _or_neutral(part, field, known) for field, known in typed.items()}
            whole = whole | _describe_further_fields(part.rules, properties, NEUTRAL) | part.further_schema
        out[name] = whole
    return out


def _or_neutral(part: type[Wire], field: str, known: Schema) -> Schema:
    more = part.extra_neutral.get(field, ())
    return {"anyOf": [known, {"enum": list(more)}]} if more else known


def _parts(kind: inspect.Type) -> Iterator[type[Wire]]:
    """The parts of requests that a type is made of."""
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            if issubclass(cls, Wire):
                yield cls
            for field in fields:
                yield from _parts(field.type)
        case inspect.UnionType(types=types):
            for each in types:
                yield from _parts(each)
        case inspect.ListType(item_type=inner) | inspect.Metadata(type=inner):
            yield from _parts(inner)


def _drop_refused(schema: Any, refused: set[str]) -> Any:
    """`schema` without references to what is refused."""
    if isinstance(schema, list):
        return [
            _drop_refused(each, refused)
            for each in schema
            if not (isinstance(each, dict) and each.get("$ref") in refused)
        ]
    if isinstance(schema, dict):
        return {key: _drop_refused(each, refused) for key, each in schema.items() if not _is_in(each, refused)}
    return schema


def _is_in(value: object, refused: set[str]) -> bool:
    """Whether it is an entry of a discriminator's mapping that leads to what is refused."""
    return isinstance(value, str) and value in refused
