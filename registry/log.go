package registry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"

	"github.com/sirupsen/logrus" // what the distribution handlers log with; this carries it to slog
)

// logBridge carries what the distribution handlers log to slog. They log every client mistake as an
// error; here an error is something an operator must act on, so what a client did is Debug.
//
// The handlers take their logger from the context, under a key that only they can make, or else
// from process-wide state. The bridge answers for that key instead of setting the global, which
// belongs to every user of logrus in the process.
type logBridge struct {
	log   *slog.Logger
	entry *logrus.Entry
}

func newLogBridge(log *slog.Logger) *logBridge {
	b := &logBridge{log: log}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetFormatter(discard{})
	logger.SetLevel(logrus.ErrorLevel)
	logger.AddHook(b)
	b.entry = logrus.NewEntry(logger)
	return b
}

// context returns ctx with the bridge as the handlers' logger. x is the exchange whose failures are
// logged; nil: none in particular.
func (b *logBridge) context(ctx context.Context, x *exchange) context.Context {
	if x != nil {
		ctx = context.WithValue(ctx, exchangeKey{}, x)
	}
	return logContext{ctx, b.entry.WithContext(ctx)}
}

type exchangeKey struct{}

type logContext struct {
	context.Context //nolint:containedctx // it is a context, as context.WithValue's are, not a holder of one
	entry           *logrus.Entry
}

// Value returns the bridge for the handlers' logger key.
func (c logContext) Value(key any) any {
	t := reflect.TypeOf(key)
	if t != nil && t.Name() == "loggerKey" && t.PkgPath() == "github.com/distribution/distribution/v3/internal/dcontext" {
		return c.entry
	}
	return c.Context.Value(key)
}

// Levels is part of logrus.Hook: the levels that are passed on.
func (b *logBridge) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel}
}

// Fire is part of logrus.Hook: it passes one record on.
func (b *logBridge) Fire(e *logrus.Entry) error {
	ctx, x := e.Context, (*exchange)(nil)
	if ctx == nil {
		ctx = context.Background()
	}
	x, _ = ctx.Value(exchangeKey{}).(*exchange)
	level := slog.LevelError
	if x != nil && (x.broken != nil || status(e) < http.StatusInternalServerError) {
		level = slog.LevelDebug
	}
	if !b.log.Enabled(ctx, level) {
		return nil
	}
	attrs := append(make([]slog.Attr, 0, 6), slog.String("event", e.Message))
	for _, f := range [...][2]string{
		{"http.request.method", "method"},
		{"vars.name", "repository"},
		{"http.response.status", "status"},
		{"err.code", "code"},
		{"err.detail", "err"},
	} {
		if v, ok := e.Data[f[0]]; ok {
			attrs = append(attrs, slog.String(f[1], fmt.Sprint(v)))
		}
	}
	b.log.LogAttrs(ctx, level, "registry failure", attrs...)
	return nil
}

// status returns the response status a record speaks of; 0 when it is not about a response. Records
// within a request that are not about its response are details of the one that follows.
func status(e *logrus.Entry) int {
	n, _ := e.Data["http.response.status"].(int)
	return n
}

// discard is a logrus.Formatter for records that nobody formats.
type discard struct{}

// Format is part of logrus.Formatter.
func (discard) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
