package confine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What sock_diag(7) needs and package unix does not name.
const (
	sockDiagByFamily = 20
	tcpListen        = 10 // a state, enum tcp_state of the kernel
	diagRequestSize  = 56 // struct inet_diag_req_v2
	diagAnswerSize   = 72 // struct inet_diag_msg
	diagPort         = 4  // where id.idiag_sport is in the latter
	diagInode        = 68 // and idiag_inode
)

// diagListeners adds to inodes the sockets of an address family that listen on the
// TCP port. The kernel goes through the sockets that listen alone, where the files
// in /proc go through its whole table of connections: milliseconds on a machine
// with much memory, however few there are.
func diagListeners(family uint8, port uint16, inodes map[string]bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return fmt.Errorf("ask for sockets: %w", err)
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return fmt.Errorf("ask for sockets: %w", err)
	}
	if err := unix.Sendto(fd, diagRequest(family, port), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask for sockets: %w", err)
	}
	buffer := make([]byte, os.Getpagesize()*4)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hear of sockets: %w", err)
		}
		done, err := diagAnswers(buffer[:n], port, inodes)
		if done || err != nil {
			return err
		}
	}
}

// diagRequest asks for all sockets of a family that listen on a port.
func diagRequest(family uint8, port uint16) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+diagRequestSize)
	order := binary.NativeEndian
	order.PutUint32(b[0:], uint32(len(b)))
	order.PutUint16(b[4:], sockDiagByFamily)
	order.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := b[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	order.PutUint32(body[4:], 1<<tcpListen)
	binary.BigEndian.PutUint16(body[8:], port) // id.idiag_sport
	return b
}

// diagAnswers reads one datagram of the answer, and reports whether it was the
// last.
func diagAnswers(datagram []byte, port uint16, inodes map[string]bool) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return false, fmt.Errorf("read what there is of sockets: %w", err)
	}
	if len(messages) == 0 {
		return false, errors.New("read what there is of sockets: the answer is empty")
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(m.Data) < 4 {
				return false, errors.New("read what there is of sockets: the error is cut off")
			}
			code := int32(binary.NativeEndian.Uint32(m.Data))
			return false, fmt.Errorf("ask for sockets: %w", syscall.Errno(-code))
		}
		if len(m.Data) >= diagAnswerSize && binary.BigEndian.Uint16(m.Data[diagPort:]) == port {
			inode := binary.NativeEndian.Uint32(m.Data[diagInode:])
			inodes[strconv.FormatUint(uint64(inode), 10)] = true
		}
	}
	return false, nil
}
