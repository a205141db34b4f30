package router

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// stopwatch ends a request of the standard library's server when its time is over or, of HTTP/2, the user
// has stopped sending a body that is waited for, or taking the answer. A user of a stream that goes both ways
// may well be silent once the answer has begun. One timer does it, which looks at what the request waits
// for; setting a deadline for each part would cost a message to the connection's goroutine each time.
type stopwatch struct {
	start  time.Time
	cancel context.CancelCauseFunc
	stream *http.ResponseController // of HTTP/2; else nil
	stall  time.Duration            // how long the user may take for the next part; 0: for ever

	reading, writing atomic.Int64 // when waiting for the user began, in nanoseconds since start; 0: nobody waits
	answering        atomic.Bool

	mu    sync.Mutex // guards what follows
	end   time.Time
	timer *time.Timer // calls check
	over  bool        // stream cannot be used any more
}

func (s *stopwatch) init(start time.Time, cancel context.CancelCauseFunc) {
	s.start, s.cancel = start, cancel
}

// wait notes in since that waiting for the user begins; who waits stores 0 there at the end.
func (s *stopwatch) wait(since *atomic.Int64) {
	if s.stall != 0 {
		since.Store(int64(max(1, time.Since(s.start))))
	}
}

// limit sets how long the request may take from its start. The first call starts the watch.
func (s *stopwatch) limit(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = s.start.Add(d)
	if s.timer == nil {
		s.timer = time.AfterFunc(s.next(), s.check)
		return
	}
	s.timer.Reset(s.next())
}

// next returns how long nothing has to be ended; mu is held.
func (s *stopwatch) next() time.Duration {
	next := time.Until(s.end)
	if s.stall == 0 {
		return next
	}
	next = min(next, s.left(&s.writing))
	if !s.answering.Load() {
		next = min(next, s.left(&s.reading))
	}
	return next
}

// left returns how much longer may be waited for the user.
func (s *stopwatch) left(since *atomic.Int64) time.Duration {
	began := time.Duration(since.Load())
	if began == 0 {
		return s.stall
	}
	return began + s.stall - time.Since(s.start)
}

// check ends the request, or has itself called when it may have to.
func (s *stopwatch) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if next := s.next(); next > 0 {
		s.timer.Reset(next)
		return
	}
	if !time.Now().Before(s.end) {
		s.cancel(errRequestLimit)
		s.unblock(bodySlack, answerSlack)
		return
	}
	s.cancel(errUserSlow)
	if s.writing.Load() == 0 {
		s.unblock(0, answerSlack) // there is an answer to that
		return
	}
	s.unblock(0, 0)
}

// unblock ends what waits for the user in the stream, after the answer had its chance; mu is held.
func (s *stopwatch) unblock(read, write time.Duration) {
	if s.stream == nil {
		return
	}
	now := time.Now()
	_, _ = s.stream.SetReadDeadline(now.Add(read)), s.stream.SetWriteDeadline(now.Add(write))
}

// stop ends the watch. What the router itself has answered may still be waiting for the user.
func (s *stopwatch) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
