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
		{"full", 2 * time.Second, 0, true},
		{"full", 3 * time.Second, 0, false},
		{"away", 3 * time.Second, 0, false}, // as the reads and the writes of one outage
		{"full", 4 * time.Second, 0, false},
		{"away", 10 * time.Second, 3, true},
		{"full", 12 * time.Second, 2, true},
		{"away", 13 * time.Second, 0, false},
		{"away", time.Hour, 0, true}, // another outage
	} {
		omitted, logged := o.admit(row.detail, begin.Add(row.after))
		if omitted != row.omitted || logged != row.logged {
			t.Errorf("row %d: got %d, %t, want %d, %t", i, omitted, logged, row.omitted, row.logged)
		}
	}
}
