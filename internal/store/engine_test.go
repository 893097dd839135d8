package store_test

import (
	"testing"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// opener opens an empty database of some engine.
type opener func(testing.TB) *store.DB

// onEachEngine runs a test of what both engines promise.
func onEachEngine(t *testing.T, test func(t *testing.T, open opener)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, storetest.Open) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, storetest.Postgres(t)) })
}
