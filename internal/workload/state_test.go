package workload

import "testing"

func TestStatesAreEnteredOnlyFromWhereTheyCanBe(t *testing.T) {
	const none State = ""
	allowed := map[[2]State]bool{
		{none, Ready}: true, {Ready, Ready}: true, {Deploying, Ready}: true, {Failed, Ready}: true,
		{none, Deploying}: true, {Ready, Deploying}: true, {Failed, Deploying}: true,
		{Deploying, Failed}: true,
	}
	states := []State{none, Deploying, Ready, Failed, "unheard-of"}
	for _, from := range states {
		for _, to := range states {
			got, err := from.enter(to)
			if allowed[[2]State{from, to}] {
				if err != nil || got != to {
					t.Errorf("from %q to %q: %q, %v", from, to, got, err)
				}
			} else if err == nil || got != from {
				t.Errorf("from %q to %q: %q, %v; want a refusal", from, to, got, err)
			}
		}
	}
}
