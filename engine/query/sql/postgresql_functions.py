"""The functions that PostgreSQL needs for the language, in SQL. In SQLite they are Python (see sqlite_executor.py)."""

from __future__ import annotations

SCHEMA = "imq"
"""The schema of the functions, and of the tables that all stores share."""

FUNCTIONS = rf"""
CREATE OR REPLACE FUNCTION {SCHEMA}.iif(condition boolean, value anyelement, other anyelement) RETURNS anyelement
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN condition THEN value ELSE other END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.basename(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT regexp_replace(rtrim(path, '/'), '^.*/', '') COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.dirname(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(substring(rtrim(path, '/') from '^(.*)/'), '') COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.split(value text, separator text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CAST(CASE WHEN value <> '' THEN to_json(string_to_array(value, nullif(separator, '')))
        WHEN separator = '' THEN '[]' ELSE '[""]' END AS text) COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.bar(value double precision, largest double precision) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN value <= 0 OR largest <= 0 THEN ''
        ELSE (SELECT repeat('█', eighths / 8) || trim(substr(' ▏▎▍▌▋▊▉', eighths % 8 + 1, 1))
            FROM (SELECT greatest(1, CAST(round(least(value / largest, 1) * 80) AS integer)) AS eighths) AS one) END
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.bar(value numeric, largest numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT {SCHEMA}.bar(CAST(value AS double precision), CAST(largest AS double precision))
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.strip(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT regexp_replace(value, '^\s+|\s+$', '', 'g') COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.number_text(value bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT CAST(value AS text) COLLATE "C" $$;

-- A floating-point number has decimals, as in Python.
CREATE OR REPLACE FUNCTION {SCHEMA}.number_text(value double precision) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CAST(value AS text) || CASE WHEN CAST(value AS text) ~ '[.e]' THEN '' ELSE '.0' END COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.number_text(value numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT CAST(value AS text) COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.parse_number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    digits text := {SCHEMA}.strip(value);
    result numeric;
BEGIN
    IF digits ~ '^[-+]?[0-9]+$' THEN
        result := CAST(digits AS numeric);
    ELSIF digits ~* '^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{{1,3}})?$' THEN
        result := CAST(digits AS numeric) * 1.0;
    ELSE
        RETURN NULL;
    END IF;
    RETURN CASE WHEN result >= -9223372036854775808 AND result < 9223372036854775808 THEN result END;
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.as_digest(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (CASE WHEN digest LIKE 'sha512:%' THEN digest
        WHEN digest ~ '^(sha256:)?[0-9a-f]{{1,64}}$' THEN 'sha256:' || regexp_replace(digest, '^sha256:', '') END)
        COLLATE "C"
    FROM (SELECT lower({SCHEMA}.strip(value)) AS digest) AS one
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.parse_size(value text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parts text[] := regexp_match({SCHEMA}.strip(value), '^([0-9]+)(?:\.([0-9]+))? ?([kmgtpe]?)(i?)b?$', 'i');
    fraction text := coalesce(parts[2], '');
    base CONSTANT numeric := CASE WHEN parts[4] <> '' THEN 1024 ELSE 1000 END;
    size numeric;
BEGIN
    IF parts IS NULL OR (parts[4] <> '' AND parts[3] = '') OR length(parts[1]) + length(fraction) > 40 THEN
        RETURN NULL;
    END IF;
    size := CAST(parts[1] || fraction AS numeric)
        * CASE WHEN parts[3] = '' THEN 1 ELSE base ^ strpos('kmgtpe', lower(parts[3])) END;
    size := div(size, CAST(10 AS numeric) ^ length(fraction));
    RETURN CASE WHEN size <= 9223372036854775807 THEN size END;
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.parse_duration(value text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    second CONSTANT bigint := 1000000000;
    rest text := {SCHEMA}.strip(value);
    part text[];
    unit bigint;
    word text;
    total numeric := 0;
BEGIN
    IF rest = '0' THEN
        RETURN 0;
    END IF;
    IF rest = '' THEN
        RETURN NULL;
    END IF;
    WHILE rest <> '' LOOP
        part := regexp_match(rest, '^([0-9]*)(?:\.([0-9]*))? ?([A-Za-zµμ]+) ?(.*)$');
        IF part IS NULL THEN
            RETURN NULL;
        END IF;
        part[2] := coalesce(part[2], '');
        unit := CASE part[3] WHEN 'ns' THEN 1 WHEN 'us' THEN 1000 WHEN 'µs' THEN 1000 WHEN 'μs' THEN 1000
            WHEN 'ms' THEN 1000000 WHEN 's' THEN second WHEN 'm' THEN 60 * second WHEN 'h' THEN 3600 * second
            WHEN 'd' THEN 86400 * second WHEN 'w' THEN 7 * 86400 * second WHEN 'y' THEN 365 * 86400 * second END;
        IF unit IS NULL THEN
            word := lower(part[3]);
            FOR attempt IN 1..2 LOOP
                unit := CASE word WHEN 'nanosecond' THEN 1 WHEN 'microsecond' THEN 1000 WHEN 'millisecond' THEN 1000000
                    WHEN 'sec' THEN second WHEN 'second' THEN second WHEN 'min' THEN 60 * second
                    WHEN 'minute' THEN 60 * second WHEN 'hr' THEN 3600 * second WHEN 'hour' THEN 3600 * second
                    WHEN 'day' THEN 86400 * second WHEN 'week' THEN 7 * 86400 * second
                    WHEN 'month' THEN 30 * 86400 * second WHEN 'year' THEN 365 * 86400 * second END;
                EXIT WHEN unit IS NOT NULL;
                word := regexp_replace(word, 's$', '');
            END LOOP;
        END IF;
        IF unit IS NULL OR part[1] || part[2] = '' OR length(part[1]) + length(part[2]) > 40 THEN
            RETURN NULL;
        END IF;
        total := total + div(CAST(part[1] || part[2] AS numeric) * unit, CAST(10 AS numeric) ^ length(part[2]));
        rest := part[4];
    END LOOP;
    RETURN CASE WHEN total <= 9223372036854775807 THEN total END;
END $$;

-- A time without a zone is in the zone of the connection.
CREATE OR REPLACE FUNCTION {SCHEMA}.parse_date(value text) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    part text[] := regexp_match({SCHEMA}.strip(value), '^([0-9]{{4}})(?:-([0-9]{{2}})(?:-([0-9]{{2}})'
        || '(?:[Tt ]([0-9]{{2}}):([0-9]{{2}})(?::([0-9]{{2}})(?:\.([0-9]{{1,9}})[0-9]*)?)?)?)?)?'
        || '([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})?$');
    zone text;
    moment timestamp;
    seconds numeric;
BEGIN
    IF part IS NULL OR part[1] = '0000' OR CAST(part[6] AS integer) > 60 OR part[4] = '24' THEN
        RETURN NULL;
    END IF;
    zone := coalesce(upper(part[8]), '');
    moment := make_timestamp(CAST(part[1] AS integer), CAST(coalesce(part[2], '01') AS integer),
        CAST(coalesce(part[3], '01') AS integer), CAST(coalesce(part[4], '00') AS integer),
        CAST(coalesce(part[5], '00') AS integer), least(CAST(coalesce(part[6], '00') AS integer), 59));
    IF zone = '' THEN
        seconds := extract(epoch FROM CAST(moment AS timestamptz));
    ELSE
        seconds := extract(epoch FROM moment AT TIME ZONE 'UTC');
        IF zone <> 'Z' THEN
            seconds := seconds - (CAST(substr(zone, 2, 2) AS integer) * 3600 + CAST(substr(zone, 5, 2) AS integer) * 60)
                * CASE left(zone, 1) WHEN '+' THEN 1 ELSE -1 END;
        END IF;
    END IF;
    seconds := seconds * 1000000000 + CAST(rpad(coalesce(part[7], ''), 9, '0') AS bigint);
    RETURN CASE WHEN abs(seconds) <= 9223372036854775807 THEN seconds END;
EXCEPTION WHEN datetime_field_overflow THEN
    RETURN NULL;
END $$;

-- The registry, the repository, the tag and the digest of a reference, as oci/reference.py reads it; NULL for another.
CREATE OR REPLACE FUNCTION {SCHEMA}.parse_reference(value text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    host CONSTANT text := '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
    component CONSTANT text := '[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*';
    name text := split_part(value, '@', 1);
    digest text;
    tag text;
    parts text[];
    first text;
    registry text := 'docker.io';
    repository text;
BEGIN
    IF strpos(value, '://') > 0 THEN
        RETURN NULL;
    END IF;
    IF strpos(value, '@') > 0 THEN
        digest := substr(value, strpos(value, '@') + 1);
        IF digest !~ '^(?:sha256:[0-9a-f]{{64}}|sha384:[0-9a-f]{{96}}|sha512:[0-9a-f]{{128}})$' THEN
            RETURN NULL;
        END IF;
    END IF;
    parts := regexp_match(name, '^(.*):([^:/]*)$');
    IF parts IS NOT NULL THEN
        name := parts[1];
        tag := parts[2];
        IF tag !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}$' THEN
            RETURN NULL;
        END IF;
    END IF;
    first := split_part(name, '/', 1);
    repository := name;
    IF strpos(name, '/') > 0 AND (first ~ '[.:]' OR first = 'localhost' OR first <> lower(first)) THEN
        registry := first;
        repository := substr(name, length(first) + 2);
    END IF;
    IF registry = 'index.docker.io' THEN
        registry := 'docker.io';
    END IF;
    IF registry = 'docker.io' AND strpos(repository, '/') = 0 AND repository <> '' THEN
        repository := 'library/' || repository;
    END IF;
    IF registry !~ ('^(?:\[[0-9A-Fa-f:.]+\]|' || host || '(?:\.' || host || ')*)(?::[0-9]+)?$')
        OR repository !~ ('^' || component || '(?:/' || component || ')*$')
        OR name ~ '^[0-9a-f]{{64}}$' OR length(registry) + 1 + length(repository) > 255 THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY[registry, repository, tag, digest];
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.familiar_name(reference text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN reference[1] <> 'docker.io' THEN reference[1] || '/' || reference[2]
        WHEN reference[2] ~ '^library/[^/]*$' THEN substr(reference[2], 9) ELSE reference[2] END COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.as_name(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN reference IS NULL THEN value
        ELSE {SCHEMA}.familiar_name(reference) || coalesce(':' || reference[3], '') || coalesce('@' || reference[4], '')
            || CASE WHEN reference[3] IS NULL AND reference[4] IS NULL THEN ':latest' ELSE '' END END COLLATE "C"
    FROM (SELECT {SCHEMA}.parse_reference({SCHEMA}.strip(value)) AS reference) AS one
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.as_repository(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN reference IS NULL OR reference[3] IS NOT NULL OR reference[4] IS NOT NULL THEN value
        ELSE {SCHEMA}.familiar_name(reference) END COLLATE "C"
    FROM (SELECT {SCHEMA}.parse_reference({SCHEMA}.strip(value)) AS reference) AS one
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.glob_regex(glob text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := '';
    rest text := glob;
    class text[];
BEGIN
    WHILE rest <> '' LOOP
        IF left(rest, 1) = '[' THEN
            class := regexp_match(rest, '^\[(\^?)([^\n][^\]]*)\](.*)$');
            IF class IS NULL THEN
                RETURN '(?!)';
            END IF;
            result := result || '[' || class[1] || regexp_replace(class[2], '([\\\[\]^])', '\\\1', 'g') || ']';
            rest := class[3];
        ELSE
            result := result || CASE left(rest, 1) WHEN '*' THEN '.*' WHEN '?' THEN '.'
                ELSE regexp_replace(left(rest, 1), '([^[:alnum:]_ ])', '\\\1') END;
            rest := substr(rest, 2);
        END IF;
    END LOOP;
    RETURN '^(?:' || result || ')$';
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_time(nanoseconds bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char(to_timestamp(nanoseconds / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
        || CASE WHEN nanoseconds % 1000000000 = 0 THEN ''
            ELSE '.' || rtrim(lpad(CAST(nanoseconds % 1000000000 AS text), 9, '0'), '0') END || 'Z'
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_times(times bigint[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg({SCHEMA}.format_time(value) ORDER BY place)
    FROM unnest(times) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_durations(durations bigint[]) RETURNS numeric[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(CASE WHEN value % 1000000000 = 0 THEN round(value / 1000000000.0, 1)
        ELSE CAST(rtrim(CAST(value / 1000000000.0 AS text), '0') AS numeric) END ORDER BY place)
    FROM unnest(durations) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_versions(versions text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(split_part(value, chr(31), 2) ORDER BY place)
    FROM unnest(versions) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.sortable(digits text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT lpad(CAST(length(short) AS text), 2, '0') || short
    FROM (SELECT CASE WHEN ltrim(digits, '0') = '' THEN '0' ELSE ltrim(digits, '0') END AS short) AS one
$$;

-- The parts of a version in a tag, as oci/tag_version.py returns them; NULL for another tag.
CREATE OR REPLACE FUNCTION {SCHEMA}.parse_version(tag text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    word CONSTANT text := '^(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|test|eap|ea|cr|milestone'
        || '|m|a|b)(?:[.-]?[0-9]+)*(?=[-_.+]|$)';
    start text[] := regexp_match(tag, '^([vV]?)([0-9]{{1,18}}(?:\.[0-9]{{1,18}}){{0,3}})(?![0-9.])');
    numbers text[];
    count integer;
    key text;
    rest text;
    build text;
    prerelease text;
    variant text;
BEGIN
    IF start IS NULL THEN
        RETURN NULL;
    END IF;
    numbers := string_to_array(start[2], '.');
    count := cardinality(numbers);
    SELECT string_agg({SCHEMA}.sortable(part), '.' ORDER BY place) INTO key
        FROM unnest(numbers) WITH ORDINALITY AS item(part, place);
    key := key || repeat('.010', 4 - count);
    rest := substr(tag, length(start[1]) + length(start[2]) + 1);
    IF rest <> '' THEN
        IF left(rest, 1) IN ('-', '_', '+', '.') THEN
            rest := substr(rest, 2);
            build := substring(rest from '^[0-9]{{1,18}}(?=[-_+]|$)');
            IF build IS NOT NULL THEN
                key := key || '.' || {SCHEMA}.sortable(build);
                rest := substr(rest, length(build) + 2);
            END IF;
        ELSIF count = 1 OR rest !~* word THEN
            RETURN NULL;
        END IF;
        prerelease := (regexp_match(rest, word, 'i'))[1];
    END IF;
    IF prerelease IS NULL THEN
        key := key || '#';
        variant := nullif(rest, '');
    ELSE
        SELECT key || '!' || coalesce(string_agg(CASE WHEN part[1] ~ '^[0-9]' THEN '0' || {SCHEMA}.sortable(part[1])
                ELSE '1' || part[1] END, ' ' ORDER BY place), '') INTO key
            FROM regexp_matches(lower(prerelease), '[0-9]+|[a-z]+', 'g') WITH ORDINALITY AS item(part, place);
        variant := nullif(ltrim(substr(rest, length(prerelease) + 1), '-_.+'), '');
    END IF;
    RETURN ARRAY[key || chr(31) || tag, CAST(CAST(numbers[1] AS bigint) AS text),
        CAST(CAST(numbers[2] AS bigint) AS text), CAST(CAST(numbers[3] AS bigint) AS text), prerelease, variant];
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.version_text(tag text, part integer) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT ({SCHEMA}.parse_version(tag))[part] COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.version_number(tag text, part integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT CAST(({SCHEMA}.parse_version(tag))[part] AS bigint) $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.to_json_text(items text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CAST(array_to_json(items) AS text) COLLATE "C" $$;

CREATE OR REPLACE AGGREGATE {SCHEMA}.json_group_array(text) (
    SFUNC = array_append, STYPE = text[], FINALFUNC = {SCHEMA}.to_json_text, INITCOND = '{{}}', PARALLEL = SAFE
)
"""
"""The functions, each ended by `;` and an empty line."""
