package workload

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// versionRow is a version as it is stored.
type versionRow struct {
	Version
	id, tenant string
	// asked is its place in the order in which versions were asked for, askedAt
	// when that was.
	asked   int64
	askedAt time.Time
	// quota is how many bytes the tenant might have then.
	quota int64
	// good reports whether it ever was the current one.
	good bool
}

// onItsWay reports whether it is going to be the current version, which is
// another one.
func (v versionRow) onItsWay(current int64) bool { return v.Number != current && v.State.OnItsWay() }

// extent is how much of a version is read.
type extent bool

const (
	// whole reads everything; listed leaves the content of inline files out.
	whole  extent = true
	listed extent = false
)

type scanner interface{ Scan(dest ...any) error }

// versionColumns are those of a workload_versions v, which may be missing.
func versionColumns(e extent) string {
	files := "''"
	if e == whole {
		files = "coalesce(v.files, '')"
	}
	return `coalesce(v.id, ''), coalesce(v.tenant, ''), coalesce(v.number, 0), coalesce(v.state, ''), coalesce(v.reason, ''),
		coalesce(v.commit_hash, ''), coalesce(v.size, 0), coalesce(v.quota, 0), coalesce(v.available, FALSE), coalesce(v.good, FALSE),
		coalesce(v.asked, 0), coalesce(v.asked_at, 0), coalesce(v.created, 0), coalesce(v.source, ''), ` + files + `,
		coalesce(v.program, ''), coalesce(v.artifact, ''), coalesce(v.steps, '')`
}

// versionText is what of a row must still be parsed.
type versionText struct {
	askedAt, created                        int64
	source, files, program, artifact, steps string
}

// dest is where to scan versionColumns to.
func (t *versionText) dest(v *versionRow) []any {
	return []any{&v.id, &v.tenant, &v.Number, &v.State, &v.Reason, &v.Commit, &v.Size, &v.quota, &v.Available, &v.good,
		&v.asked, &t.askedAt, &t.created, &t.source, &t.files, &t.program, &t.artifact, &t.steps}
}

func (t *versionText) parse(v *versionRow) error {
	if v.Number == 0 {
		return nil
	}
	v.askedAt, v.Created = time.Unix(0, t.askedAt).UTC(), time.Unix(0, t.created).UTC()
	for _, part := range []struct {
		what, text string
		into       any
	}{
		{"a stored source", t.source, &v.Source},
		{"stored files", t.files, &v.Source.Files},
		{"a stored program", t.program, &v.Program},
		{"a stored artifact", t.artifact, &v.Artifact},
		{"stored steps", t.steps, &v.Steps},
	} {
		if err := decode(part.what, part.text, part.into); err != nil {
			return err
		}
	}
	return nil
}

// versionRows reads versions; where may name v, and w for their workloads.
func (r *Registry) versionRows(ctx context.Context, q store.Querier, e extent, where string, args ...any) ([]versionRow, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+versionColumns(e)+
		" FROM workload_versions v JOIN workloads w ON w.kind = v.kind AND w.id = v.id "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	defer rows.Close()
	var list []versionRow
	for rows.Next() {
		var v versionRow
		var text versionText
		if err := rows.Scan(text.dest(&v)...); err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		if err := text.parse(&v); err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return list, nil
}

// version returns one version of an id, or ErrNoVersion.
func (r *Registry) version(ctx context.Context, q store.Querier, id string, number int64) (versionRow, error) {
	list, err := r.versionRows(ctx, q, whole, "WHERE v.kind = $1 AND v.id = $2 AND v.number = $3", string(r.kind), id, number)
	if err != nil {
		return versionRow{}, err
	}
	if len(list) == 0 {
		return versionRow{}, ErrNoVersion
	}
	return list[0], nil
}

func (r *Registry) insertVersion(ctx context.Context, tx *store.Tx, v versionRow) error {
	shown := v.Source
	var files string
	var err error
	if v.Source.Files != nil {
		if files, err = encode("inline files", v.Source.Files); err != nil {
			return err
		}
		shown.Files = maps.Clone(v.Source.Files)
		for name := range shown.Files {
			shown.Files[name] = ""
		}
	}
	source, err := encode("a source", shown)
	if err != nil {
		return err
	}
	program, err := encode("a program", v.Program)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO workload_versions (kind, id, number, tenant, asked, asked_at, state, reason, source, files, upload, program,
			commit_hash, size, quota, artifact, steps, available, good, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', 0, $13, '', '', TRUE, FALSE, $14)`,
		string(r.kind), v.id, v.Number, v.tenant, v.asked, v.askedAt.UnixNano(), string(v.State), v.Reason, source, files,
		v.Source.Upload, program, v.quota, v.Created.UnixNano())
	if err != nil {
		return fmt.Errorf("store a version: %w", err)
	}
	return nil
}

// saveVersion writes what can change in a version.
func (r *Registry) saveVersion(ctx context.Context, tx *store.Tx, v versionRow) error {
	var artifact string
	var err error
	if v.Built() {
		if artifact, err = encode("an artifact", v.Artifact); err != nil {
			return err
		}
	}
	steps, err := encode("steps", v.Steps)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE workload_versions SET state = $1, reason = $2, commit_hash = $3, size = $4, artifact = $5, steps = $6,
			available = $7, good = $8, asked = $9, asked_at = $10
		WHERE kind = $11 AND id = $12 AND number = $13`,
		string(v.State), v.Reason, v.Commit, v.Size, artifact, steps,
		v.Available, v.good, v.asked, v.askedAt.UnixNano(), string(r.kind), v.id, v.Number)
	if err != nil {
		return fmt.Errorf("store a version: %w", err)
	}
	return nil
}

// move takes a stored version to another state, and records that, unless nothing
// changes.
func (r *Registry) move(ctx context.Context, tx *store.Tx, v *versionRow, to State, reason string) error {
	if v.State == to && v.Reason == reason {
		return nil
	}
	var err error
	if v.State, err = v.State.enter(to); err != nil {
		return err
	}
	v.Reason = reason
	_, err = tx.ExecContext(ctx, "UPDATE workload_versions SET state = $1, reason = $2 WHERE kind = $3 AND id = $4 AND number = $5",
		string(to), reason, string(r.kind), v.id, v.Number)
	if err != nil {
		return fmt.Errorf("store a version's state: %w", err)
	}
	return r.record(ctx, tx, v.id, Event{Version: v.Number, State: to, Reason: reason, At: r.now()})
}
