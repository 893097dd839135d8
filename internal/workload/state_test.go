package workload

import "testing"

func TestStatesAreEnteredOnlyFromWhereTheyCanBe(t *testing.T) {
	const none State = ""
	allowed := map[State][]State{
		none:         {Pending},
		Pending:      {Building, Starting, Stopped, Failed},
		Building:     {Building, Starting, Stopped, Failed},
		Starting:     {Building, Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping},
		Ready:        {Ready, Starting, Idle, Draining, Stopped, Failed, CrashLooping},
		Idle:         {Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping},
		Failed:       {Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping},
		CrashLooping: {Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping},
		Draining:     {Starting, Stopped},
		Stopped:      {Starting, Stopped},
	}
	states := append(States(), none, "unheard-of")
	for _, from := range states {
		can := map[State]bool{}
		for _, to := range allowed[from] {
			can[to] = true
		}
		for _, to := range states {
			got, err := from.enter(to)
			if can[to] {
				if err != nil || got != to {
					t.Errorf("from %q to %q: %q, %v", from, to, got, err)
				}
			} else if err == nil || got != from {
				t.Errorf("from %q to %q: %q, %v; want a refusal", from, to, got, err)
			}
		}
	}
}

func TestTheJournalCannotSayWhatIsNotTrue(t *testing.T) {
	for _, row := range []struct {
		now     State
		current bool
		told    State
		want    State
	}{
		{Ready, true, Idle, Idle},
		{Idle, true, Starting, Starting},
		{Starting, true, Ready, Ready},
		{Ready, true, CrashLooping, CrashLooping},
		{Starting, true, Failed, Failed},
		{Ready, true, Draining, Ready}, // only a promotion replaces it
		{Ready, true, Stopped, Ready},
		{Draining, false, Stopped, Stopped},
		{Stopped, false, Ready, Stopped},
		{Draining, false, Idle, Draining},
		{Stopped, false, Starting, Stopped},  // only a rollback starts it
		{Starting, false, Stopped, Starting}, // its deploy says what becomes of it
		{Building, false, Failed, Building},
		{Pending, false, Draining, Pending},
	} {
		before := status{row.now, "before"}
		got := before.journalled(entry{state: row.told, reason: "told"}, row.current)
		want := before
		if row.want != row.now {
			want = status{row.want, "told"}
		}
		if got != want {
			t.Errorf("%q (current: %v) told %q became %v, want %v", row.now, row.current, row.told, got, want)
		}
	}
}
