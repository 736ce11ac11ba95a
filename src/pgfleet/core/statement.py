"""Which statements need no cleaning after them: those of which the text shows that they cannot change the session.

Why it is decided by a list of what is allowed, and what the text cannot show, stands in `docs/design/statements.md`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_STATEMENT_CHARS: Final = 8192
"""A longer statement is not looked at: beside its own cost the reset is nothing, and the cache stays small."""

MAX_CACHED_VERDICTS: Final = 512

_Token = tuple[str, str]
"""Its kind and its text."""

_IDENTIFIER = r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+"
_DOLLAR_TAG = r"(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*+)?+"

# As PostgreSQL's scan.l reads them. What is not met here is `unknown`, and nobody vouches for its statement: comments
# in comments, U& strings and names, a backslash before a quote (standard_conforming_strings may be off).
_TOKEN: Final = re.compile(
    rf"""
    (?P<blank>    [ \t\n\r\f\v]++ | --[^\n\r]*+ | /\* (?> (?: [^*/] | \*(?!/) | /(?!\*) )* ) \*/ )
  | (?P<word>     (?! [eE]' | [uU]&['"] ) {_IDENTIFIER} (?! %[(sbt] ) )
  | (?P<quoted>   "(?: [^"] | "" )*+" )
  | (?P<literal>  '(?: [^'\\] | '' | \\(?!') )*+'
                | [eE]'(?: [^'\\] | '' | \\. )*+'
                | \$(?P<tag>{_DOLLAR_TAG})\$ .*? \$(?P=tag)\$
                | (?: \d[\d_]*+ (?: \.[\d_]*+ )?+ | \.\d[\d_]*+ ) (?: [eE][+-]?\d++ )?+ (?! [\w$] )
                | \$\d++ (?! [\w$] )
                | % (?: \(\w++\)[sbt] | [sbt] ) (?! [\w$] ) )
  | (?P<mark>     [+*<>=~!@\#%^&|`?:.,()\[\];] | -(?!-) | /(?!\*) )
  | (?P<unknown>  . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

_ODD_PLACEHOLDER: Final = re.compile(r"%\((?!\w+\)[sbt])", re.ASCII)
"""psycopg takes `%(...)s` for a placeholder even where a quote opens or closes in it: plain names only."""


def _words(*lists: str) -> frozenset[str]:
    return frozenset(" ".join(lists).split())


_QUERIES: Final = _words("select values table with")
_FORBIDDEN: Final = _words("insert update delete merge into ;")
_NAMES: Final = _words("word quoted")
_CALL_SIGNS: Final = _words("( .")
_ALIASES_FOLLOW: Final = _words("as with recursive")
"""Behind these stands a name that is being given, and in its parenthesis are columns."""

_NOT_CALLS: Final = _words(
    # clauses, operators and types that have a parenthesis behind them
    """
    all and any array as between by case distinct else escape except exists filter from group having ilike
    in intersect join lateral like limit materialized not offset on or order over partition rollup cube row
    select sets some symmetric then to union using values when where bit char character decimal dec float
    interval numeric time timestamp varbit varchar varying bpchar
    """,
)

_FUNCTIONS: Final = _words(
    # calls with a syntax of their own
    """
    cast coalesce extract greatest grouping least normalize nullif overlay position substring treat trim
    json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value columns xmlagg xmlattributes xmlconcat xmlelement xmlexists
    xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable
    """,
    # numbers
    """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh cot
    cotd degrees div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 min_scale mod pi power
    radians random random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc
    width_bucket
    """,
    # text and bytes
    """
    ascii bit_count bit_length btrim casefold char_length character_length chr concat concat_ws convert
    convert_from convert_to crc32 crc32c decode encode format get_bit get_byte initcap left length lower
    lpad ltrim md5 octet_length parse_ident quote_ident quote_literal quote_nullable regexp_count
    regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim set_bit set_byte sha224
    sha256 sha384 sha512 split_part starts_with string_to_array string_to_table strpos substr to_ascii
    to_bin to_hex to_oct translate unicode_assigned unicode_version unistr upper
    """,
    # dates and times
    """
    age clock_timestamp date date_add date_bin date_part date_subtract date_trunc isfinite justify_days
    justify_hours justify_interval make_date make_interval make_time make_timestamp make_timestamptz now
    pg_sleep statement_timestamp timeofday timezone to_char to_date to_number to_timestamp
    transaction_timestamp
    """,
    # uuids, enums, arrays, ranges, networks
    """
    gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 enum_first enum_last
    enum_range array_append array_cat array_dims array_fill array_length array_lower array_ndims
    array_position array_positions array_prepend array_remove array_replace array_reverse array_sample
    array_shuffle array_sort array_to_string array_upper cardinality generate_series generate_subscripts
    trim_array unnest datemultirange daterange int4multirange int4range int8multirange int8range isempty
    lower_inc lower_inf multirange nummultirange numrange range_merge tsmultirange tsrange tstzmultirange
    tstzrange upper_inc upper_inf abbrev broadcast family host hostmask inet_merge inet_same_family masklen
    netmask network set_masklen
    """,
    # json
    """
    array_to_json json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object_keys
    json_populate_record json_populate_recordset json_strip_nulls json_to_record json_to_recordset
    json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
    jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match
    jsonb_path_match_tz jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz
    jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record
    jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
    """,
    # text search
    """
    array_to_tsvector json_to_tsvector jsonb_to_tsvector numnode phraseto_tsquery plainto_tsquery querytree
    setweight strip to_tsquery to_tsvector ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsquery_phrase
    tsvector_to_array websearch_to_tsquery
    """,
    # aggregates and windows
    """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every
    json_agg json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont percentile_disc
    range_agg range_intersect_agg regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
    regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance cume_dist
    dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
    """,
    # the server, its catalog and its log; sequences as this session left them
    """
    col_description current_database current_schema current_schemas current_setting format_type
    has_column_privilege has_database_privilege has_function_privilege has_schema_privilege
    has_sequence_privilege has_table_privilege inet_client_addr inet_client_port inet_server_addr
    inet_server_port obj_description pg_backend_pid pg_blocking_pids pg_client_encoding pg_column_size
    pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_size
    pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef pg_get_serial_sequence
    pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_indexes_size pg_is_in_recovery
    pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
    pg_postmaster_start_time pg_relation_size pg_size_bytes pg_size_pretty pg_table_is_visible pg_table_size
    pg_total_relation_size pg_typeof pg_wal_lsn_diff pg_walfile_name to_regclass to_regnamespace to_regproc
    to_regtype version currval lastval
    """,
)


def leaves_session_alone(sql: str) -> bool:
    """Whether a statement that succeeded needs no reset before its connection is lent again.

    True only for one SELECT, VALUES, TABLE or WITH that writes nothing and calls only functions of PostgreSQL that
    are known to leave the session as it is. Everything else is False: any other function, and all that this lexer
    does not read with certainty. Assumed, because no text shows it: that views, row policies, operators, casts, types
    and functions called by a column-like name (`row.function`) do not change the session behind the caller's back, and
    that nobody shadows a function of PostgreSQL by one that does. Verdicts are remembered by text.
    """
    return len(sql) <= MAX_STATEMENT_CHARS and _verdict(sql)


@lru_cache(MAX_CACHED_VERDICTS)
def _verdict(sql: str) -> bool:
    tokens = [] if _ODD_PLACEHOLDER.search(sql) else _lex(sql)
    return _is_one_query(tokens) and all(
        _is_harmless(tokens, at) for at in range(1, len(tokens)) if tokens[at][1] in _CALL_SIGNS
    )


def _lex(sql: str) -> list[_Token]:
    """The tokens of a statement without what may end it; none when some of it is unknown."""
    tokens = [(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(sql)]
    if any(kind == "unknown" for kind, _ in tokens):
        return []
    tokens = [(kind, _folded(text)) for kind, text in tokens if kind != "blank"]
    while tokens and tokens[-1][1] == ";":
        tokens.pop()
    return tokens


def _folded(text: str) -> str:
    """As PostgreSQL folds a name: `lower()` would make an ASCII letter of some that are none, as of the Kelvin sign."""
    return text.lower() if text.isascii() else text


def _is_one_query(tokens: list[_Token]) -> bool:
    first = next((text for _, text in tokens if text != "("), "")
    return first in _QUERIES and _FORBIDDEN.isdisjoint(text for _, text in tokens)


def _is_harmless(tokens: list[_Token], at: int) -> bool:
    """Whether the parenthesis or the dot at this place calls nothing, or only what leaves the session alone."""
    behind_name = tokens[at - 1][0] in _NAMES
    if tokens[at][1] == "(":
        return not behind_name or _is_harmless_before_parenthesis(tokens, at - 1)
    # `(42).pg_advisory_lock` is a call without a parenthesis, and so are `$1.name` and `x[1].name`.
    return behind_name or at + 1 == len(tokens) or tokens[at + 1][0] not in _NAMES


def _is_harmless_before_parenthesis(tokens: list[_Token], at: int) -> bool:
    name = tokens[at][1]
    before = tokens[at - 1][1] if at else ""
    if before == ".":
        return tokens[at - 2][1] == "pg_catalog" and name in _FUNCTIONS
    return name in _FUNCTIONS or name in _NOT_CALLS or before in _ALIASES_FOLLOW
