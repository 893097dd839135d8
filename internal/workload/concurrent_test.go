package workload_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/m3o/ingress/internal/workload"
)

// together runs n calls at once and returns their errors.
func together(n int, call func(i int) error) []error {
	start := make(chan struct{})
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

func testConcurrentTenants(t *testing.T, f *fixture) {
	const n = 16
	ids := make([]string, n)
	for i, err := range together(n, func(i int) error {
		w, err := f.Create(t.Context(), tenant(fmt.Sprint("tenant", i)), spec("hello"))
		ids[i] = w.ID
		return err
	}) {
		if err != nil {
			t.Fatalf("tenant %d: %v", i, err)
		}
	}
	seen, plain := map[string]bool{}, 0
	for i, id := range ids {
		if seen[id] {
			t.Errorf("the id %s was given twice", id)
		}
		seen[id] = true
		if id == "hello" {
			plain++
		}
		if b, err := f.Backend(t.Context(), id); err != nil || b.Tenant != fmt.Sprint("tenant", i) {
			t.Errorf("%s is %q's, %v", id, b.Tenant, err)
		}
	}
	if plain != 1 {
		t.Errorf("%d tenants got the name itself", plain)
	}
}

func testConcurrentName(t *testing.T, f *fixture) {
	made := 0
	for _, err := range together(16, func(int) error {
		_, err := f.Create(t.Context(), tenant("a"), spec("hello"))
		return err
	}) {
		if err == nil {
			made++
		} else if !errors.Is(err, workload.ErrExists) {
			t.Error(err)
		}
	}
	if list, err := f.List(t.Context(), tenant("a")); made != 1 || len(list) != 1 || err != nil {
		t.Errorf("%d creates succeeded, %d are listed, %v", made, len(list), err)
	}
}

func testConcurrentQuota(t *testing.T, f *fixture) {
	a := tenant("a")
	a.Quotas.Apps = 5
	made := 0
	for _, err := range together(16, func(i int) error {
		_, err := f.Create(t.Context(), a, spec(fmt.Sprint("name", i)))
		return err
	}) {
		if err == nil {
			made++
		} else if !isQuota(err) {
			t.Error(err)
		}
	}
	if made != 5 {
		t.Errorf("%d were created of a quota of 5", made)
	}
}

func testConcurrentReservations(t *testing.T, f *fixture) {
	reserved := 0
	for _, err := range together(16, func(i int) error {
		_, err := f.Reserve(t.Context(), tenant(fmt.Sprint("tenant", i)), "hello")
		return err
	}) {
		if err == nil {
			reserved++
		} else if !errors.Is(err, workload.ErrReserved) {
			t.Error(err)
		}
	}
	if reserved != 1 {
		t.Errorf("%d tenants reserved one name", reserved)
	}
}

func testReserveAgainstCreate(t *testing.T, f *fixture) {
	for round := range 8 {
		name := fmt.Sprint("name", round)
		var id string
		errs := together(2, func(i int) error {
			if i == 0 {
				_, err := f.Reserve(t.Context(), tenant("a"), name)
				return err
			}
			w, err := f.Create(t.Context(), tenant("b"), spec(name))
			id = w.ID
			return err
		})
		if errs[1] != nil {
			t.Fatal(errs[1])
		}
		if reserved := errs[0] == nil; reserved == (id == name) {
			t.Errorf("reserved is %v, and the other tenant got the id %s", reserved, id)
		}
	}
}

func testCreateAgainstDelete(t *testing.T, f *fixture) {
	for i, err := range together(8, func(i int) error {
		me := tenant(fmt.Sprint("tenant", i%2))
		for range 5 {
			if _, err := f.Create(t.Context(), me, spec("hello")); err != nil && !errors.Is(err, workload.ErrExists) {
				return err
			}
			if err := f.Delete(t.Context(), me, "hello"); err != nil && !errors.Is(err, workload.ErrNotFound) {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("worker %d: %v", i, err)
		}
	}
	// Whoever came first keeps the name, and the other one id of its own.
	var held int
	if err := f.db.QueryRowContext(t.Context(), "SELECT count(*) FROM workload_ids").Scan(&held); err != nil || held != 2 {
		t.Errorf("two tenants hold %d ids, %v; want one each", held, err)
	}
}
