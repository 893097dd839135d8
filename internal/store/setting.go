package store

import (
	"context"
	"fmt"
	"time"
)

// Settings returns every stored setting by name.
func (db *DB) Settings(ctx context.Context) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT name, value FROM settings")
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	defer rows.Close()
	settings := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		settings[name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the settings: %w", classify(err))
	}
	return settings, nil
}

// SetSetting stores a setting, replacing what was there.
func (db *DB) SetSetting(ctx context.Context, name, value string) error {
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO settings (name, value, updated) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated = excluded.updated`,
			name, value, time.Now().UnixNano())
		if err != nil {
			return fmt.Errorf("store the setting %s: %w", name, err)
		}
		return tx.Changed(ctx, "setting", name)
	})
}

// UnsetSetting removes a stored setting; removing one that is not there
// succeeds.
func (db *DB) UnsetSetting(ctx context.Context, name string) error {
	return db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE name = $1", name); err != nil {
			return fmt.Errorf("remove the setting %s: %w", name, err)
		}
		return tx.Changed(ctx, "setting", name)
	})
}
