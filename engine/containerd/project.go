package containerd

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Project quotas bound what is written below a directory: its files belong to a project, by a number
// that new ones inherit, and the file system bounds what a project has (quotactl(2), ext4(5), xfs(5)).
// The numbers are shared by all who use the file system, so Apron's are far from those of
// administrators and other container engines, who count from one.
const (
	firstProject = 1 << 30
	projects     = 1 << 30
)

// What quotactl(2) is asked, as linux/quota.h and linux/dqblk_xfs.h number it.
const (
	projectQuota = 2
	getQuota     = 0x800007<<8 | projectQuota
	setQuota     = 0x800008<<8 | projectQuota
	getNextQuota = 0x800009<<8 | projectQuota
	getState     = 0x5808<<8 | projectQuota
)

// quotaState is struct fs_quota_statv of linux/dqblk_xfs.h, of which little matters.
type quotaState struct {
	Version uint8
	_       uint8
	Flags   uint16
	_       [19]uint64
}

// errNoProjectQuota is why the kernel bounds no disk.
var errNoProjectQuota = errors.New("the file system of the data directory is not mounted with project quotas, or Linux is older than 5.14")

// quotaBlock is how many bytes a limit of struct if_dqblk counts.
const quotaBlock = 1024

// projectUse is struct if_nextdqblk of linux/quota.h, and its beginning struct if_dqblk.
type projectUse struct {
	HardBlocks, SoftBlocks, Bytes  uint64
	HardInodes, SoftInodes, Inodes uint64
	BlocksExpire, InodesExpire     uint64
	Valid                          uint32 // which of the above count when they are set: 1 the limits of blocks
	Project                        uint32
	_                              [8]byte // struct if_dqblk has less; room for a kernel that has more
}

// none tells that the file system has neither files nor a limit of a project.
func (u projectUse) none() bool { return u.HardBlocks == 0 && u.Bytes == 0 && u.Inodes == 0 }

// fileProject is struct fsxattr of linux/fs.h.
type fileProject struct {
	Flags, ExtentSize, Extents, Project, CopyExtentSize uint32
	_                                                   [8]byte
}

const (
	inheritProject = 0x200      // FS_XFLAG_PROJINHERIT
	getFileProject = 0x801c581f // FS_IOC_FSGETXATTR
	setFileProject = 0x401c5820 // FS_IOC_FSSETXATTR
)

// quotactl asks the file system of an open file or directory. It needs no device, which a container
// often does not have; Linux 5.14 and newer know it.
func quotactl[T projectUse | quotaState](f *os.File, command uintptr, project uint32, arg *T) error {
	//nolint:gosec // structs of the kernel's layout
	if _, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), command, uintptr(project), uintptr(unsafe.Pointer(arg)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// checkProjects returns why the file system of a directory does not bound projects; nil: it does.
func checkProjects(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("look for project quotas: %w", err)
	}
	defer f.Close()
	state := quotaState{Version: 1}
	err = quotactl(f, getState, 0, &state)
	const enforced = 1 << 5                      // FS_QUOTA_PDQ_ENFD
	if err != nil || state.Flags&enforced == 0 { // each file system says it with another error
		return errNoProjectQuota
	}
	return nil
}

// useOf returns what a project has and may have. One nobody uses has and may have nothing.
func useOf(f *os.File, project uint32) (projectUse, error) {
	var u projectUse
	err := quotactl(f, getQuota, project, &u)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) {
		return u, fmt.Errorf("read quota of project %d: %w", project, err)
	}
	return u, nil
}

// limitProject lets a project have so many bytes; 0: as many as it likes, which forgets it once it has
// no files.
func limitProject(f *os.File, project uint32, bytes int64) error {
	blocks := uint64(bytes+quotaBlock-1) / quotaBlock
	u := projectUse{HardBlocks: blocks, SoftBlocks: blocks, Valid: 1}
	if err := quotactl(f, setQuota, project, &u); err != nil {
		return fmt.Errorf("set quota of project %d: %w", project, err)
	}
	return nil
}

// forgetProjects removes the limits of projects of ours that have no files: whoever had them was ended
// before it could. Making an instance gives a project files before it has a limit, so none is missed.
func forgetProjects(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("look for unused quotas: %w", err)
	}
	defer f.Close()
	for at := uint32(firstProject); ; {
		var u projectUse
		err := quotactl(f, getNextQuota, at, &u)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || (err == nil && u.Project >= firstProject+projects) {
			return nil // no more of ours
		}
		if err != nil {
			return fmt.Errorf("look for unused quotas: %w", err)
		}
		if u.HardBlocks > 0 && u.Bytes == 0 && u.Inodes == 0 {
			if err := limitProject(f, u.Project, 0); err != nil {
				return err
			}
		}
		if at = u.Project + 1; at >= firstProject+projects {
			return nil
		}
	}
}

// projectOf returns the project of an open directory; 0: none of its own.
func projectOf(f *os.File) (uint32, error) {
	p, err := attributes(f)
	return p.Project, err
}

func attributes(f *os.File) (fileProject, error) {
	var p fileProject
	if err := askFile(f, getFileProject, &p); err != nil {
		return p, fmt.Errorf("read project of %s: %w", f.Name(), err)
	}
	return p, nil
}

func askFile(f *os.File, request uintptr, p *fileProject) error {
	//nolint:gosec // a struct of the kernel's layout
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(p))); errno != 0 {
		return errno
	}
	return nil
}

// enrol makes a directory, and whatever will be made in it, belong to a project.
func enrol(f *os.File, project uint32) error {
	p, err := attributes(f)
	if err != nil {
		return err
	}
	p.Project, p.Flags = project, p.Flags|inheritProject
	if err := askFile(f, setFileProject, &p); err != nil {
		return fmt.Errorf("set project of %s: %w", f.Name(), err)
	}
	return nil
}
