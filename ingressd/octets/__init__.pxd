from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memchr, memcpy, strerror


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int descriptor, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int descriptor, const void* data, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    int c_accept "accept4"(int listening, sockaddr* peer, socklen_t* size, int flags)
    int AF_INET
    int AF_INET6
    int SOCK_CLOEXEC
    int SOCK_NONBLOCK


cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id


cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)
    uint16_t ntohs(uint16_t)
    uint32_t ntohl(uint32_t)


cdef extern from "<string.h>" nogil:
    const void* memrchr(const void* text, int byte, size_t size)


cdef extern from "<unistd.h>" nogil:
    ssize_t c_write "write"(int descriptor, const void* data, size_t size)


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd

    struct epoll_event:
        unsigned int events
        epoll_data_t data

    int epoll_wait(int descriptor, epoll_event* events, int count, int timeout)


cdef extern from "Python.h":
    PyObject* item "PyList_GET_ITEM"(list, Py_ssize_t)
    bint is_bytes "PyBytes_CheckExact"(PyObject*)
    Py_ssize_t length "PyBytes_GET_SIZE"(PyObject*)
    char* start "PyBytes_AS_STRING"(PyObject*)


cdef inline bytes join(list parts):
    # The list holds its parts meanwhile, so they need not be counted again.
    cdef Py_ssize_t count = PyList_GET_SIZE(parts)
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t number
    cdef PyObject* part
    for number in range(count):
        part = item(parts, number)
        if not is_bytes(part):
            raise TypeError("only bytes can be joined")
        size += length(part)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    cdef char* at = PyBytes_AS_STRING(whole)
    for number in range(count):
        part = item(parts, number)
        memcpy(at, start(part), length(part))
        at += length(part)
    return whole


cdef inline bytes decimal(long long value):
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = 48 + value % 10
        value //= 10
        if value == 0:
            return PyBytes_FromStringAndSize(digits + at, 20 - at)


cdef inline bytes receive(int descriptor):
    # The stack is read into because a bytes object of this size is costly to make for what mostly is little.
    cdef char buffer[130048]
    cdef ssize_t size = c_recv(descriptor, buffer, sizeof(buffer), MSG_DONTWAIT)
    if size >= 0:
        return PyBytes_FromStringAndSize(buffer, size)
    if errno == EAGAIN or errno == EINTR:
        return None
    PyErr_SetFromErrno(OSError)


cdef inline Py_ssize_t send(int descriptor, bytes data, Py_ssize_t start) except -1:
    cdef ssize_t sent = c_send(
        descriptor, PyBytes_AS_STRING(data) + start, PyBytes_GET_SIZE(data) - start, MSG_DONTWAIT | MSG_NOSIGNAL
    )
    if sent >= 0:
        return sent
    if errno == EAGAIN or errno == EINTR:
        return 0
    PyErr_SetFromErrno(OSError)


cdef inline tuple accept(object listening):
    cdef sockaddr_storage peer
    cdef socklen_t size = sizeof(peer)
    cdef char text[64]
    cdef int descriptor = c_accept(listening.fileno(), <sockaddr*>&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if descriptor < 0:
        if errno == EAGAIN or errno == EINTR:
            return None
        PyErr_SetFromErrno(OSError)
    if peer.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<sockaddr_in*>&peer).sin_addr, text, sizeof(text))
        return descriptor, (text.decode("ascii"), ntohs((<sockaddr_in*>&peer).sin_port))
    if peer.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &(<sockaddr_in6*>&peer).sin6_addr, text, sizeof(text))
        return descriptor, (
            text.decode("ascii"),
            ntohs((<sockaddr_in6*>&peer).sin6_port),
            ntohl((<sockaddr_in6*>&peer).sin6_flowinfo),
            (<sockaddr_in6*>&peer).sin6_scope_id,
        )
    return descriptor, None


cdef inline list poll(object epoll, int descriptor):
    cdef epoll_event events[256]
    cdef int count = epoll_wait(descriptor, events, 256, 0)
    cdef int number
    cdef list ready = []
    if count < 0 and errno != EINTR:
        PyErr_SetFromErrno(OSError)
    for number in range(count):
        ready.append(events[number].data.fd)
        ready.append(events[number].events)
    return ready


cdef inline Py_ssize_t write_lines(int descriptor, bytes lines, Py_ssize_t start, Py_ssize_t longest) except -1:
    # All of it without the interpreter's lock: to get it back takes as long as others hold it.
    cdef const char* text = PyBytes_AS_STRING(lines)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(lines)
    cdef Py_ssize_t part
    cdef ssize_t written = 0
    cdef const void* last
    cdef int failure = 0
    with nogil:
        while start < size:
            part = size - start
            if part > longest:
                last = memrchr(text + start, 10, longest)
                if last == NULL:
                    last = memchr(text + start, 10, part)
                if last != NULL:
                    part = <const char*>last - (text + start) + 1
            written = c_write(descriptor, text + start, part)
            if written < 0:
                failure = errno
                break
            start += written
    if failure != 0 and failure != EAGAIN and failure != EINTR:
        raise OSError(failure, strerror(failure).decode())
    return start
