package router

import "sync/atomic"

const (
	accessBuffer = 8192 // records kept while the control plane is slow or away
	accessBatch  = 512  // records in one message at most
)

// accessLog holds the records of finished requests until they are sent. It never makes a request
// wait: when it is full, records are dropped and counted.
type accessLog struct {
	records chan Access
	dropped atomic.Uint64 // since the last batch
	changed func()        // called after each record; must not block
}

func newAccessLog(changed func()) *accessLog {
	return &accessLog{records: make(chan Access, accessBuffer), changed: changed}
}

// adopt adds what another router has recorded.
func (l *accessLog) adopt(records []Access, dropped uint64) {
	l.dropped.Add(dropped)
	for _, a := range records {
		l.add(a)
	}
}

func (l *accessLog) add(a Access) {
	select {
	case l.records <- a:
	default:
		l.dropped.Add(1)
	}
	l.changed()
}

// batch returns the oldest records as one message, or nil when there are none.
func (l *accessLog) batch() *accessRecords {
	b := &accessRecords{}
	for len(b.Records) < accessBatch {
		select {
		case a := <-l.records:
			b.Records = append(b.Records, a)
			continue
		default:
		}
		break
	}
	if len(b.Records) == 0 {
		return nil
	}
	b.Dropped = l.dropped.Swap(0)
	return b
}
