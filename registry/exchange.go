package registry

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// maxRequestBytes is the largest body taken in one request: ECR's quota for a layer, 52,000 MiB.
// The handlers limit manifests to 4 MiB themselves.
const maxRequestBytes = 52_000 << 20

// stallTimeout is how long a transfer may make no progress before its connection is given up.
const stallTimeout = time.Minute

// exchange is a request in progress: the response as it goes out, and what became of the body. It
// moves the connection's deadlines along with every byte, so that slow clients finish and stalled
// ones do not hold an upload open. It belongs to the goroutine that serves the request.
type exchange struct {
	http.ResponseWriter
	conn   *http.ResponseController
	status int   // 0: nothing sent yet
	broken error // why the body could not be read to its end; nil: it was, or was not wanted
	mute   bool  // drop what the handlers write: it was answered in their place
}

// newExchange takes over the answer to req. The caller calls end when it is complete.
func newExchange(w http.ResponseWriter, req *http.Request) *exchange {
	x := &exchange{ResponseWriter: w, conn: http.NewResponseController(w)}
	if req.Body != nil && req.Body != http.NoBody {
		// Also for a body that nobody reads: net/http skips over it before the next request.
		_ = x.conn.SetReadDeadline(time.Now().Add(stallTimeout))
	}
	return x
}

// end gives the connection back: the next request on it may not be the registry's.
func (x *exchange) end() { _ = x.conn.SetWriteDeadline(time.Time{}) }

// Unwrap lets http.ResponseController find the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Flush sends what was written so far.
func (x *exchange) Flush() { _ = x.conn.Flush() }

// WriteHeader sends the status. A failure of the handlers is answered in their place: they would tell
// the client about files and directories, and blame themselves for a body that the client broke off.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	x.status = status
	if status != http.StatusInternalServerError {
		x.ResponseWriter.WriteHeader(status)
		return
	}
	x.mute = true
	code, message := "UNKNOWN", "internal error of the registry"
	if x.broken != nil {
		x.status, code, message = brokenStatus(x.broken), "BLOB_UPLOAD_INVALID", "the body could not be read"
	}
	x.Header().Del("Content-Length")
	if errors.Is(x.broken, errNoSpace) {
		writeNoSpace(x.ResponseWriter)
		return
	}
	writeError(x.ResponseWriter, x.status, code, message)
}

func brokenStatus(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case errors.Is(err, errNoSpace):
		return http.StatusInsufficientStorage
	default:
		return http.StatusBadRequest
	}
}

// Write sends bytes of the body. Deadlines that a connection does not support are no loss: those
// are connections in memory.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.mute {
		return len(p), nil
	}
	_ = x.conn.SetWriteDeadline(time.Now().Add(stallTimeout))
	return x.ResponseWriter.Write(p)
}

// body returns in, limited and under the exchange's watch. space is asked now and then whether there is
// room for more.
func (x *exchange) body(in io.ReadCloser, space func() error) io.ReadCloser {
	return &watchedBody{ReadCloser: http.MaxBytesReader(x.ResponseWriter, in, maxRequestBytes), x: x, space: space}
}

type watchedBody struct {
	io.ReadCloser
	x     *exchange
	space func() error
	since int // bytes since space was asked
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.since >= spaceEvery {
		b.since = 0
		if err := b.space(); err != nil {
			b.x.broken = err
			return 0, err
		}
	}
	_ = b.x.conn.SetReadDeadline(time.Now().Add(stallTimeout))
	n, err := b.ReadCloser.Read(p)
	b.since += n
	switch {
	case err == io.EOF:
		// net/http goes on reading the connection to notice that the client left: a deadline left
		// behind would look just like that.
		_ = b.x.conn.SetReadDeadline(time.Time{})
	case err != nil:
		// The deadline stays: net/http reads on to see whether the connection can be kept.
		b.x.broken = err
	}
	return n, err
}
