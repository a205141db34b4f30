package router

import (
	"syscall"
	"unsafe"
)

// readFD and writeFD do one system call on a descriptor that does not block, without telling the
// scheduler: it returns at once. Errno 0 means success.

func readFD(fd uintptr, p []byte) (int, syscall.Errno) { return transfer(syscall.SYS_READ, fd, p) }

func writeFD(fd uintptr, p []byte) (int, syscall.Errno) { return transfer(syscall.SYS_WRITE, fd, p) }

func transfer(call, fd uintptr, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		//nolint:gosec // the pointer is used during the call only, as unsafe.Pointer's rule 4 asks
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
