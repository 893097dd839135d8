package store

import (
	"context"
	"fmt"
)

// Status is how a database is.
type Status struct {
	// Schema is the number of the last migration it had, 0 for none; Known is the last
	// that this program has.
	Schema int64 `json:"schema"`
	Known  int64 `json:"schema_known"`
	// Server is the version of the database server, or of the engine.
	Server string `json:"server"`
	// Bytes is its size on disk.
	Bytes int64 `json:"bytes"`
	// Tables are those that are there, of those that are moved.
	Tables []TableSize `json:"tables"`
	// Connections are those of other processes to a shared database, that call
	// themselves ingresses.
	Connections []Connections `json:"connections"`
}

// TableSize is how many records a table has.
type TableSize struct {
	Table   string `json:"table"`
	Records int64  `json:"records"`
}

// Connections are those from one address.
type Connections struct {
	// From is the address, or "local" for those on the server's machine by a socket.
	From string `json:"from"`
	// Name is what they call themselves (application_name).
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Schema returns the number of the last migration that the database had, 0 for none,
// and of the last that this program has.
func (db *DB) Schema(ctx context.Context) (have, known int64, err error) {
	have, err = db.schema(ctx, db)
	return have, db.engine.knownSchema(), err
}

// Status looks at the database, whatever its schema.
func (db *DB) Status(ctx context.Context) (*Status, error) {
	s := &Status{Known: db.engine.knownSchema(), Tables: []TableSize{}, Connections: []Connections{}}
	err := db.Read(ctx, func(q Querier) (err error) {
		if s.Schema, err = db.schema(ctx, q); err != nil {
			return err
		}
		if err := q.QueryRowContext(ctx, db.engine.about).Scan(&s.Server, &s.Bytes); err != nil {
			return fmt.Errorf("look at %s: %w", db.name, err)
		}
		if s.Tables, err = db.sizes(ctx, q); err != nil {
			return err
		}
		if !db.Shared() {
			return nil
		}
		s.Connections, err = connections(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (db *DB) sizes(ctx context.Context, q Querier) ([]TableSize, error) {
	list := []TableSize{}
	for _, t := range tables {
		var there bool
		if err := q.QueryRowContext(ctx, db.engine.hasTable, t.name).Scan(&there); err != nil {
			return nil, fmt.Errorf("look for the table %s: %w", t.name, err)
		}
		if !there {
			continue
		}
		size := TableSize{Table: t.name}
		if err := q.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.name).Scan(&size.Records); err != nil {
			return nil, fmt.Errorf("count the records of %s: %w", t.name, err)
		}
		list = append(list, size)
	}
	return list, nil
}

func connections(ctx context.Context, q Querier) ([]Connections, error) {
	rows, err := q.QueryContext(ctx, `
		SELECT COALESCE(host(client_addr), 'local'), application_name, COUNT(*) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name LIKE '%ingress%' AND pid <> pg_backend_pid()
		GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("look who is connected: %w", err)
	}
	defer rows.Close()
	list := []Connections{}
	for rows.Next() {
		var c Connections
		if err := rows.Scan(&c.From, &c.Name, &c.Count); err != nil {
			return nil, fmt.Errorf("look who is connected: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}
