package api

import (
	"testing"
	"time"
)

func TestAnOutageIsLoggedNowAndThen(t *testing.T) {
	var o outage
	begin := time.Now()
	for i, row := range []struct {
		detail  string
		after   time.Duration
		omitted int
		logged  bool
	}{
		{"away", 0, 0, true},
		{"away", time.Second, 0, false},
		{"away", 2 * time.Second, 0, false},
		{"full", 2 * time.Second, 2, true},
		{"full", 3 * time.Second, 0, false},
		{"away", 3 * time.Second, 1, true},
		{"away", 12 * time.Second, 0, false},
		{"away", 13 * time.Second, 1, true},
	} {
		omitted, logged := o.admit(row.detail, begin.Add(row.after))
		if omitted != row.omitted || logged != row.logged {
			t.Errorf("row %d: got %d, %t, want %d, %t", i, omitted, logged, row.omitted, row.logged)
		}
	}
}
