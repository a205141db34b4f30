package containerd

import (
	"context"
	"io"
	"log/slog"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// withLogger makes containerd, which logs through logrus, log to l: what it calls
// information as debug lines, because it is detail to an operator of Apron.
func withLogger(ctx context.Context, l *slog.Logger) context.Context {
	to := logrus.New()
	redirect(to, l)
	return log.WithLogger(ctx, logrus.NewEntry(to))
}

// redirectStandardLog does the same for whoever logs without a context. It changes the process.
func redirectStandardLog(l *slog.Logger) { redirect(logrus.StandardLogger(), l) }

func redirect(from *logrus.Logger, to *slog.Logger) {
	from.SetOutput(io.Discard)
	from.SetLevel(logrus.InfoLevel)
	from.ReplaceHooks(logrus.LevelHooks{})
	from.AddHook(slogHook{to})
}

// slogHook passes logrus entries on.
type slogHook struct{ to *slog.Logger }

// Levels implements logrus.Hook.
func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h slogHook) Fire(e *logrus.Entry) error {
	if e.Message == "no trace recorder found, skipping" {
		return nil // BuildKit's warning of every build that nobody asked to be traced
	}
	level := slog.LevelDebug
	switch e.Level {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		level = slog.LevelError
	case logrus.WarnLevel:
		level = slog.LevelWarn
	case logrus.InfoLevel, logrus.DebugLevel, logrus.TraceLevel:
	}
	attrs := make([]slog.Attr, 0, len(e.Data))
	for k, v := range e.Data {
		if k == logrus.ErrorKey {
			k = "err"
		}
		attrs = append(attrs, slog.Any(k, v))
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	h.to.LogAttrs(ctx, level, "containerd: "+e.Message, attrs...) //nolint:sloglint // the message is containerd's
	return nil
}
