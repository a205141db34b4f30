package builder_test

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"apron"
	"apron/builder"
)

// write makes a source tree of files by path.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func id() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// plan is one for a new service with these files.
func plan(t testing.TB, runtime string, files map[string]string) builder.Plan {
	t.Helper()
	return builder.Plan{
		Service: apron.ServiceID(id()), Revision: apron.RevisionID(id()),
		Dir: write(t, t.TempDir(), files), Runtime: runtime, Port: 8080,
	}
}

const nodeServer = `
const http = require('http')
http.createServer((req, res) => {
  if (req.url === '/env') return res.end(JSON.stringify({env: process.env, cwd: process.cwd(), version: process.version}))
  res.end('hello from node')
}).listen(process.env.PORT)
`

func TestNode(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer, "package.json": `{"name":"plain"}`})
	p.Build, p.Command = []string{"npm install"}, "node server.js"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "hello from node" {
		t.Errorf("answered %q", got)
	}
}
