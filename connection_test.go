package apron_test

import (
	"net/url"
	"testing"

	"apron"
)

// A token goes to its connection's hosts and nowhere else, however the address is written.
func TestTokenHosts(t *testing.T) {
	github, bitbucket := apron.Connection{Provider: "GITHUB"}, apron.Connection{Provider: "BITBUCKET"}
	own := apron.Connection{Provider: "GITHUB", Hosts: []string{"git.example.com", "code.example.com:8443", "[::1]:3000"}}
	for address, want := range map[string]struct{ github, local, bitbucket, own bool }{
		"https://github.com/a/b":                  {github: true, local: true},
		"https://GitHub.com:443/a/b":              {github: true, local: true},
		"https://github.com:8443/a/b":             {},
		"https://github.com./a/b":                 {},
		"https://api.github.com/a/b":              {},
		"https://github.com.example.com/a/b":      {},
		"https://github.com@git.example.com/a/b":  {own: true},
		"https://bitbucket.org/a/b":               {bitbucket: true},
		"https://git.example.com/a/b":             {own: true},
		"https://git.example.com:8443/a/b":        {},
		"https://code.example.com:8443/a/b":       {own: true},
		"https://code.example.com/a/b":            {},
		"http://127.0.0.1:3000/a/b":               {local: true},
		"http://[::1]:3000/a/b":                   {local: true, own: true},
		"http://[::ffff:127.0.0.1]/a/b":           {local: true},
		"http://LOCALHOST:3000/a/b":               {local: true},
		"http://web.us-east-1.localhost:3000/a/b": {}, // whoever may create services may be there
		"http://127.0.0.1.example.com/a/b":        {},
		"https:///a/b":                            {},
		"ssh://git@anywhere.example.com/a/b":      {true, true, true, true}, // no token
		"file:///srv/git/web":                     {true, true, true, true},
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		for name, row := range map[string]struct {
			hosts apron.TokenHosts
			want  bool
		}{
			"github": {github.TokenHosts(false), want.github}, "github, local": {github.TokenHosts(true), want.local},
			"bitbucket": {bitbucket.TokenHosts(false), want.bitbucket}, "own": {own.TokenHosts(true), want.own},
			"none": {apron.TokenHosts{}, u.Scheme == "ssh" || u.Scheme == "file"},
		} {
			if got := row.hosts.Allow(u); got != row.want {
				t.Errorf("%s of %s: %v, want %v", address, name, got, row.want)
			}
		}
	}
}

func TestParseTokenHost(t *testing.T) {
	for in, want := range map[string]string{
		"git.example.com": "git.example.com", "Git.Example.com:8443": "git.example.com:8443", "[::1]": "[::1]", "[::1]:3000": "[::1]:3000",
		"localhost": "localhost", "127.0.0.1:3000": "127.0.0.1:3000",
		"": "", "https://git.example.com": "", "git.example.com/team": "", "me@git.example.com": "", "*.example.com": "", "a b": "", "a,b": "",
		"git.example.com:": "", ":443": "", "a:b": "", "::1": "", "a?b": "", "a#b": "", "a\n": "", "[zz]": "",
	} {
		got, err := apron.ParseTokenHost(in)
		if got != want || (apron.KindOf(err) == apron.Invalid) != (want == "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
		if again, err := apron.ParseTokenHost(got); want != "" && (again != got || err != nil) {
			t.Errorf("%q becomes %q, %v", got, again, err)
		}
	}
}
