package key

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/store"
)

const (
	// exchangeEvery is how often nodes tell each other of their demands.
	exchangeEvery = time.Second
	// nodeLife is how long a node that is not heard of counts, by the clock of the
	// database. After keepLives times that its row is removed.
	nodeLife  = 5 * time.Second
	keepLives = 12
	// leaveTimeout bounds the farewell.
	leaveTimeout = 5 * time.Second
)

// demands are how much a node is asked for, in requests a second, by the keys at the
// same places.
type demands struct {
	keys    []string
	demands []float64
}

// otherNodes is how many others are alive, and what they are asked for in all.
type otherNodes struct {
	number int
	demand map[string]float64 // by key, requests a second
}

// shareRates exchanges demands with the other nodes until ctx ends. While the database
// is away each node keeps the shares it has, which are right as long as the load stays
// as it was.
func (s *Service) shareRates(ctx context.Context) {
	tick := time.NewTicker(exchangeEvery)
	defer tick.Stop()
	for failed := false; ; {
		err := s.exchange(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			s.log.WarnContext(ctx, "the rates of keys could not be shared with the other nodes; each keeps its shares, and it will be tried again", "error", err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.leave(ctx)
			return
		}
	}
}

// exchange tells the other nodes of this one's demands, and takes the shares that
// follow from theirs.
func (s *Service) exchange(ctx context.Context) error {
	others, err := s.keys.exchange(ctx, s.node, s.nodeLife, s.buckets.measure(s.now()))
	if err != nil {
		return err
	}
	s.buckets.agree(others)
	return nil
}

// leave has the others take over this node's shares at once.
func (s *Service) leave(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := s.keys.removeNode(last, s.node); err != nil {
		s.log.WarnContext(ctx, "the other nodes could not be told that this one ends; they will see", "error", err)
	}
}

// Collector has the number of nodes, or nil on one machine.
func (s *Service) Collector() prometheus.Collector {
	if !s.keys.db.Shared() {
		return nil
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ingress_nodes",
		Help: "Ingresses on the database, this one included, that share the rates of keys, as last heard.",
	}, func() float64 { return float64(s.buckets.nodes()) })
}

func (b *buckets) measure(now time.Time) demands {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leases.measure(now)
}

func (b *buckets) agree(others otherNodes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leases.agree(others)
}

func (b *buckets) nodes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leases.nodes
}

// exchange writes the node's row and returns what the others have written for the same
// keys; they count for so long after they were seen. It is one statement on purpose,
// outside the serializable transactions of store.DB.Write: in those, nodes that read
// each other's rows would always conflict. Here none waits for another. The rows of
// nodes that died go by the way; one that another removes at the moment is left to it.
func (r repository) exchange(ctx context.Context, node string, life time.Duration, mine demands) (otherNodes, error) {
	rows, err := r.db.QueryContext(ctx, `
		WITH mine AS (
			INSERT INTO nodes (id, seen, keys, demands) VALUES ($1, now(), $2, $3)
			ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, keys = excluded.keys, demands = excluded.demands
		), dead AS (
			DELETE FROM nodes WHERE id IN (
				SELECT id FROM nodes WHERE id <> $1 AND seen < now() - make_interval(secs => $5) FOR UPDATE SKIP LOCKED)
		), others AS (
			SELECT keys, demands FROM nodes
			WHERE id <> $1 AND seen BETWEEN now() - make_interval(secs => $4) AND now() + make_interval(secs => $4)
		), told AS (
			SELECT theirs.key, SUM(theirs.demand) AS demand
			FROM others CROSS JOIN unnest(others.keys, others.demands) AS theirs (key, demand)
			JOIN unnest($2::text[]) AS ours (key) ON ours.key = theirs.key
			GROUP BY theirs.key
		)
		SELECT alive.number, coalesce(told.key, ''), coalesce(told.demand, 0)
		FROM (SELECT COUNT(*) AS number FROM others) AS alive LEFT JOIN told ON TRUE`,
		node, mine.keys, mine.demands, life.Seconds(), keepLives*life.Seconds())
	if err != nil {
		return otherNodes{}, fmt.Errorf("exchange demands: %w", err)
	}
	defer rows.Close()
	others := otherNodes{demand: map[string]float64{}}
	for rows.Next() {
		var key string
		var demand float64
		if err := rows.Scan(&others.number, &key, &demand); err != nil {
			return otherNodes{}, fmt.Errorf("exchange demands: %w", err)
		}
		others.demand[key] = demand // the key "", which nobody has, is of no use
	}
	if err := rows.Err(); err != nil {
		return otherNodes{}, fmt.Errorf("exchange demands: %w", err)
	}
	return others, nil
}

// removeNode removes a node's row.
func (r repository) removeNode(ctx context.Context, node string) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM nodes WHERE id = $1", node)
		return err
	})
}
