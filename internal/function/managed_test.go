package function

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
)

func TestStatusWords(t *testing.T) {
	version := func(number int64, state workload.State) *workload.Version {
		return &workload.Version{Number: number, State: state}
	}
	for want, all := range map[string][]workload.Workload{
		"Deployed":  {{Backend: "http://a.b", State: workload.Ready}},
		"Deploying": {{State: workload.Pending}, {State: workload.Building}, {State: workload.Starting, Newest: version(1, workload.Starting)}},
		"Active": {
			{State: workload.Ready, Current: 1}, {State: workload.Idle, Current: 1}, {State: workload.Starting, Current: 1},
			{State: workload.Ready, Current: 1, Newest: version(2, workload.Building)},
			{State: workload.Ready, Current: 1, Newest: version(2, workload.Failed)},
		},
		"DeploymentError": {{State: workload.Failed, Reason: "no such branch"}, {State: workload.CrashLooping, Current: 1}},
	} {
		for _, w := range all {
			if got := status(w); got != want {
				t.Errorf("%+v: got %s, want %s", w, got, want)
			}
		}
	}
}

func TestWhatCannotBeCalledSaysWhy(t *testing.T) {
	for want, w := range map[string]workload.Workload{
		"greet is not ready: it is being deployed":              {State: workload.Building},
		"greet is not ready: its deploy failed: no such branch": {State: workload.Failed, Reason: "no such branch"},
		"greet is not ready: it is crash-looping: exit status 1": {
			State: workload.CrashLooping, Current: 1, Reason: "exit status 1"},
	} {
		w.Name = "greet"
		failed := notReady(w, workload.Backend{Managed: true})
		if failed == nil || failed.Code != http.StatusServiceUnavailable || failed.Detail != want {
			t.Errorf("got %v, want %s", failed, want)
		}
		if wait := failed.RetryAfter > 0; wait != w.State.OnItsWay() {
			t.Errorf("%s: retry after %s", want, failed.RetryAfter)
		}
	}
	for _, w := range []workload.Workload{{State: workload.Idle, Current: 1}, {State: workload.Starting, Current: 2}} {
		if failed := notReady(w, workload.Backend{Managed: true}); failed != nil {
			t.Errorf("%+v: a call would wake it, and got %v", w, failed)
		}
	}
}

// doer is a Caller made of a function.
type doer func(key string, r *http.Request) (*http.Response, error)

func (do doer) Do(_ context.Context, key string, r *http.Request) (*http.Response, error) {
	return do(key, r)
}

func TestManagedFunctionsAreCalledThroughTheirCaller(t *testing.T) {
	f := New(Options{Managed: doer(func(key string, r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		reply := `{"got":` + string(body) + `,"key":"` + key + `","path":"` + r.Method + r.URL.Path + `"}`
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(reply))}, nil
	})})
	reply, err := f.post(t.Context(), "greet", workload.Backend{Key: "function/greet", Managed: true}, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	got := reply.AsMap()
	if got["key"] != "function/greet" || got["path"] != "POST/" || got["got"].(map[string]any)["a"] != 1.0 {
		t.Errorf("got %v", got)
	}
}

func TestFailuresOfManagedFunctions(t *testing.T) {
	for want, cause := range map[string]error{
		"greet is not ready: it is starting and 100 requests wait already": &UnreadyError{Message: "it is starting and 100 requests wait already", RetryAfter: 5 * time.Second},
		"the function did not answer in time":                              context.DeadlineExceeded,
		"the function cannot be reached or broke its answer off":           errors.New("dial 127.0.0.1:20001: refused"),
	} {
		f := New(Options{Managed: doer(func(string, *http.Request) (*http.Response, error) { return nil, cause })})
		_, err := f.post(t.Context(), "greet", workload.Backend{Managed: true}, nil)
		failed, ok := errors.AsType[*api.Error](err)
		if !ok || failed.Detail != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if unready, ok := cause.(*UnreadyError); ok && (failed.Code != http.StatusServiceUnavailable || failed.RetryAfter != unready.RetryAfter) {
			t.Errorf("got %v", failed)
		}
	}
}
