package user

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAThrottleNeverAllowsMoreThanItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		rate := Rate{Burst: rapid.IntRange(1, 5).Draw(t, "burst"), Every: time.Minute}
		throttle := newThrottle(rate, func() time.Time { return now })
		var taken []time.Time
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 150).Draw(t, "seconds")) * time.Second)
			wait := throttle.take("key")
			if wait == 0 {
				taken = append(taken, now)
				continue
			}
			later := newThrottle(rate, func() time.Time { return now.Add(wait) })
			later.full = map[string]time.Time{"key": throttle.full["key"]}
			if later.take("key") != 0 {
				t.Fatalf("after the wait of %v it is still not allowed", wait)
			}
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				allowed := rate.Burst + int(taken[j].Sub(taken[i])/rate.Every)
				if j-i+1 > allowed {
					t.Fatalf("%d times within %v, allowed are %d", j-i+1, taken[j].Sub(taken[i]), allowed)
				}
			}
		}
	})
}

func TestAThrottleForgets(t *testing.T) {
	now := time.Unix(0, 0)
	throttle := newThrottle(Rate{Burst: 1, Every: time.Minute}, func() time.Time { return now })
	for i := range 10 * minSweep {
		if throttle.take(fmt.Sprint(i)) != 0 {
			t.Fatalf("key %d must wait for another", i)
		}
		now = now.Add(time.Second)
	}
	if len(throttle.full) > 2*minSweep {
		t.Errorf("it remembers %d keys of which 60 matter", len(throttle.full))
	}
	throttle.take("key")
	throttle.giveBack("key")
	if wait := throttle.take("key"); wait != 0 {
		t.Errorf("a turn given back is gone: wait %v", wait)
	}
	if wait := throttle.take("key"); wait != time.Minute {
		t.Errorf("wait %v", wait)
	}
	throttle.forgive("key")
	throttle.giveBack("key")
	if throttle.take("key") != 0 || throttle.take("key") == 0 {
		t.Error("forgiving gave more or less than a whole burst")
	}
}

func TestAThrottleKeepsNothingLong(t *testing.T) {
	long := throttleKey("alice", strings.Repeat("x", 4<<20))
	if len(long) > 64 || long == throttleKey("bob", strings.Repeat("x", 4<<20)) || long == throttleKey("alice", "x") {
		t.Errorf("a key of %d bytes", len(long))
	}
	if again := throttleKey("alice", strings.Repeat("x", 4<<20)); again != long {
		t.Errorf("one thing has two keys: %s and %s", long, again)
	}
}
