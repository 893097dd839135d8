package user_test

import (
	"context"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/store"
)

func TestRunRemovesWhatHasExpired(t *testing.T) {
	p := newPlatform(t)
	p.anna(t, apitest.Alice)
	p.login(t, apitest.Alice, password)
	p.clock.advance(8 * 24 * time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.service.Run(ctx)
	}()
	for sessions := 1; sessions > 0; {
		// A write waits for the one before, so that this does not spin.
		err := p.db.Write(ctx, func(tx *store.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM sessions").Scan(&sessions)
		})
		if err != nil {
			t.Fatalf("the session stays: %v", err)
		}
	}
	cancel()
	<-done
}
