package main

import (
	"net/http"
	"strings"
	"testing"
)

const linkJSON = `{"id":"docs","destinationURL":"https://example.com/?a=1&b=2","shortURL":"http://localhost:8080/u/docs","created":"2026-11-22T18:03:36.215525117Z","hitCount":"12"}`

func TestURLCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args: []string{"url", "create", "https://example.com/?a=1&b=2", "--id", "docs"},
			path: "/v1/url/Create", body: `{"id":"docs","destinationURL":"https://example.com/?a=1&b=2"}`,
			reply: `{"url":` + linkJSON + `}`,
			stdout: "" +
				"ID           docs\n" +
				"SHORT URL    http://localhost:8080/u/docs\n" +
				"DESTINATION  https://example.com/?a=1&b=2\n" +
				"CREATED      2026-11-22 18:03:36\n",
		},
		{
			args: []string{"url", "shorten", "https://example.com/"},
			path: "/v1/url/Shorten", body: `{"destinationURL":"https://example.com/"}`,
			reply:  `{"shortURL":"http://localhost:8080/u/aB3_-xyz9"}`,
			stdout: "http://localhost:8080/u/aB3_-xyz9\n",
		},
		{
			args: []string{"url", "list"},
			path: "/v1/url/List", body: `{}`,
			reply: `{"urlPairs":[` + linkJSON + `,{"id":"x","destinationURL":"https://e.org/\u001b[2J","shortURL":"http://localhost:8080/u/x","created":"yesterday","hitCount":"0","later":1}]}`,
			stdout: "" +
				"SHORT URL                     HITS  CREATED           DESTINATION\n" +
				"http://localhost:8080/u/docs  12    2026-11-22 18:03  https://example.com/?a=1&b=2\n" +
				"http://localhost:8080/u/x     0     yesterday         https://e.org/\\x1b[2J\n",
		},
		{
			// A long destination makes its own row long, and no other.
			args: []string{"url", "list"},
			path: "/v1/url/List", body: `{}`,
			reply: `{"urlPairs":[{"shortURL":"https://m.example/u/a","destinationURL":"https://e.org/` + strings.Repeat("x", 1000) + `"},{"shortURL":"https://m.example/u/b","destinationURL":"https://e.org/"}]}`,
			stdout: "" +
				"SHORT URL              HITS  CREATED  DESTINATION\n" +
				"https://m.example/u/a  0     -        https://e.org/" + strings.Repeat("x", 1000) + "\n" +
				"https://m.example/u/b  0     -        https://e.org/\n",
		},
		{
			args: []string{"url", "list", "http://localhost:8080/u/docs"},
			path: "/v1/url/List", body: `{"shortURL":"http://localhost:8080/u/docs"}`,
			reply:  `{"urlPairs":[]}`,
			stderr: "you have no link http://localhost:8080/u/docs; those you have are shown by: ingress url list\n",
		},
		{
			args: []string{"url", "list"}, path: "/v1/url/List", body: `{}`, reply: `{"urlPairs":[]}`,
			stderr: "no links yet; make one with: ingress url create https://example.com/\n",
		},
		{
			args: []string{"url", "resolve", "docs"},
			path: "/v1/url/Resolve", body: `{"id":"docs"}`,
			reply: `{"destinationURL":"https://example.com/"}`, stdout: "https://example.com/\n",
		},
		{
			args: []string{"url", "resolve", "http://localhost:8080/u/docs"},
			path: "/v1/url/Resolve", body: `{"shortURL":"http://localhost:8080/u/docs"}`,
			reply: `{"destinationURL":"https://example.com/"}`, stdout: "https://example.com/\n",
		},
		{
			args: []string{"url", "update", "docs", "https://example.com/new"},
			path: "/v1/url/Update", body: `{"id":"docs","destinationURL":"https://example.com/new"}`,
			reply: `{}`, stderr: "link docs now leads to https://example.com/new\n",
		},
		{
			args: []string{"url", "delete", "docs"},
			path: "/v1/url/Delete", body: `{"id":"docs"}`,
			reply: `{}`, stderr: "there is no link docs any more\n",
		},
	})
}

func TestAnIdMayBeginWithAHyphen(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{}`)
	got := withKey().run(t, "url", "delete", "--address", p.URL, "--", "-docs")
	if got.code != 0 || p.requests()[0].body != `{"id":"-docs"}` {
		t.Errorf("%+v, %v", got, p.requests())
	}
}

func TestAListOfHundredsOfThousands(t *testing.T) {
	const number = 150_000
	p := newFakePlatform(t, http.StatusOK, `{"urlPairs":[`+strings.Repeat(linkJSON+",", number-1)+linkJSON+`]}`)
	got := withKey().run(t, "url", "list", "--address", p.URL)
	if got.code != 0 || strings.Count(got.stdout, "\n") != number+1 {
		t.Errorf("code %d, %d lines: %.500s", got.code, strings.Count(got.stdout, "\n"), got.stderr)
	}
}

func TestJSONIsTheReplyExactly(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"urlPairs":[],"new":{"n":12345678901234567890.10,"html":"<&>","c1":"`+"\u009b"+`2J"}}`)
	got := withKey().run(t, "url", "list", "--json", "--address", p.URL)
	want := "{\n  \"urlPairs\": [],\n  \"new\": {\n    \"n\": 12345678901234567890.10,\n    \"html\": \"<&>\",\n    \"c1\": \"\\u009b2J\"\n  }\n}\n"
	if got != (outcome{want, "", 0}) {
		t.Errorf("got %+v\nwant %s", got, want)
	}
}
