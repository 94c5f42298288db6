/*
 * sampan-shim: the keeper of one container.
 *
 * One of these small processes stands behind each container. It runs the OCI runtime, is the parent of the
 * container's processes (as their subreaper), owns their pipes and terminals, writes the log, feeds the attached
 * clients, and records how the container ended. It needs no daemon: that one may be killed and come back.
 *
 * docs/shim-protocol.md describes the options, the control messages and the files. Short version: the daemon
 * spawns the shim with a SOCK_SEQPACKET control connection on fd 3; a daemon that comes later connects to
 * shim.sock. Messages are short ASCII texts, descriptors travel with them (SCM_RIGHTS).
 *
 * One thread, one epoll loop, one event at a time: a handler may free any object without leaving a stale event
 * behind. Everything but the log file and the runtime's answer is non-blocking.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441 /* asm-generic/ioctls.h: _IO('T', 0x41) */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436 /* these have the same numbers on every architecture */
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef OPEN_TREE_CLONE /* linux/mount.h */
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif

enum {
    CONTROL_FD = 3,         /* where the daemon leaves the control connection */
    CHUNK = 256 * 1024,     /* one read of output */
    FULL_PIPE = 64 * 1024,  /* a pipe's usual capacity */
    PIPE = 1024 * 1024,     /* capacity of one that was found full: then neither side waits for each turn of the other */
    SLACK = 8,              /* text is read and copied by words, and may be so beyond its end */
    PIECE = 16 * 1024,      /* a longer line is logged in pieces of this size, as Docker does */
    RECORD = PIECE * 6 + 512, /* the longest log record but for the attributes: every byte as \u00xx */
    BATCH = 512 * 1024,     /* log text gathered for one write */
    GROWTH = 64 * 1024,     /* a client's queue grows by so much */
    LAG = 1024 * 1024,      /* a client this far behind holds the container back ... */
    QUEUE_MAX = 8 * LAG,    /* ... and one this far behind (output left at the end) is cut off */
    STALL_MS = 10 * 1000,   /* ... unless it has taken nothing for so long: then it is cut off */
    LINGER_MS = 100,        /* after the end: how long a stranger may hold the output pipes open */
    IDLE_MS = 1000,         /* after so long without output the buffers' pages are given back */
    ERROR_TEXT = 8 * 1024,  /* how much of the runtime's complaint is passed on */
    MESSAGE = 16 * 1024,    /* the longest control message */
    TTY_BUFFER = 256 * 1024, /* more than the kernel holds for a terminal */
    HIGH_FD = 200,          /* above every number that a child's descriptors are moved to */
    TREES = 4,              /* mounts given to the runtime beside those of its view */
};

struct watch { /* a descriptor in the epoll set; events 0 means not in it */
    int fd;
    uint32_t events;
    void (*ready)(struct watch *, uint32_t events);
    void *owner;
};

struct client { /* somebody attached to a process */
    struct client *next;
    struct process *process;
    struct watch watch;
    bool input, output[2]; /* what it still gives and wants */
    bool lagging;          /* it holds the process back */
    bool leaving;          /* close it once its queue is empty */
    char *queue;           /* bytes [from, to) wait for it */
    size_t from, to, size;
    uint64_t moved_ms; /* when it last took something */
};

struct process { /* the container's init, or one exec */
    struct process *next;
    char id[80];          /* the exec's id */
    unsigned request;     /* the control message to answer when the runtime is done */
    struct control *asker;
    pid_t command;        /* the runtime command, while it runs */
    pid_t pid;            /* the process, from start to end */
    uint64_t started_ns, ended_ns, linger_ms;
    int status;           /* as waitpid gave it */
    bool tty, takes_input, close_stdin, ended, finished;
    bool wide[2];         /* its output pipe was given more room */
    int runtime_log;      /* memfd in which the runtime writes its errors */
    int console;          /* listener that gets the terminal from the runtime */
    int slave;            /* the terminal's other end, kept open: no EIO while nobody in there has it open */
    unsigned short rows, cols;
    struct watch in, out[2]; /* with a terminal: in and out[0] are its master */
    char *pending;           /* input [pending_from, pending_to) which the process has not taken yet */
    size_t pending_from, pending_to;
    bool input_over;         /* close its stdin once that is written */
    struct client *clients;
};

struct control { /* a connection of the daemon */
    struct control *next;
    struct watch watch;
};

struct line { /* the unfinished line of one stream */
    char data[PIECE + SLACK];
    size_t used;
    unsigned ordinal; /* pieces logged so far */
    uint64_t ns;      /* all pieces carry the time of the first */
    char id[65];
};

static struct { /* the command line; docs/shim-protocol.md says what each is */
    const char *id, *dir, *bundle, *root, *runtime, *name, *hide, *memory, *input, *log_driver, *log_path, *log_attrs;
    const char *trees[TREES];
    unsigned long runtime_fd, view_fd, tty, rows, cols, log_size, log_files, compress;
} option = {.name = "runtime", .input = "none", .log_files = 1};

static int epoll_fd, dir_fd, null_fd;
static struct process init = {.command = -1};
static struct process *execs;
static struct control *controls;
static struct watch children, listener, oom_watch = {.fd = -1};
static bool stopping; /* the container is to be killed as soon as it can be */
static struct { pid_t pid; int status; } *strays; /* ended before their runtime command told us their pid */
static size_t stray_count;

static char chunk[CHUNK + SLACK] __attribute__((aligned(4096)));
static bool chunk_dirty;

/* ------------------------------------------------------------------------------------------------ small things */

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000; }

static void watch_set(struct watch *w, uint32_t events) {
    if (w->fd < 0 || w->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = w};
    /* Hang-ups are reported even with an empty mask, so "not now" has to mean "not in the set". */
    int op = !events ? EPOLL_CTL_DEL : !w->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll_fd, op, w->fd, &event) == 0)
        w->events = events;
}

static void watch_close(struct watch *w) {
    if (w->fd < 0)
        return;
    watch_set(w, 0);
    close(w->fd);
    w->fd = -1;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static bool write_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t done = write(fd, data, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        n -= (size_t)done;
    }
    return true;
}

/* Write a file of the run directory so that it is there whole or not at all. */
static void write_file(const char *name, const char *text) {
    int fd = openat(dir_fd, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool whole = write_all(fd, text, strlen(text));
    close(fd);
    if (whole)
        renameat(dir_fd, ".new", dir_fd, name);
}

/* ---------------------------------------------------------------------------------------------- control messages */

static void control_drop(struct control *c) {
    for (struct control **at = &controls; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    for (struct process *p = execs; p; p = p->next)
        if (p->asker == c)
            p->asker = NULL;
    watch_close(&c->watch);
    free(c);
}

/* A daemon that lets its queue fill up loses the connection, not the container: it may connect again. */
static bool control_send(struct control *c, const char *text, size_t n) {
    if (send(c->watch.fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    control_drop(c);
    return false;
}

/* Send a message to one daemon, or to every one if `only` is NULL; return how many heard it. */
__attribute__((format(printf, 2, 3))) static int tell(struct control *only, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args), heard = 0;
    va_end(args);
    for (struct control *c = controls, *next; c; c = next) {
        next = c->next;
        if (!only || c == only)
            heard += control_send(c, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    }
    return heard;
}

/* -------------------------------------------------------------------------------------------------------- the log */

static struct {
    int fd;
    bool local;   /* Docker's "local" format instead of json-file */
    bool broken;  /* an error was reported already */
    uint64_t size;
    size_t attrs_len;
    char *batch;
    size_t used, room;
    pid_t gzip;
    struct line lines[2];
} logfile = {.fd = -1};

static const char *const STREAM[2] = {"stdout", "stderr"};

static bool log_open(void) {
    logfile.fd = open(option.log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    struct stat st;
    if (logfile.fd < 0 || fstat(logfile.fd, &st) < 0)
        return false;
    logfile.size = (uint64_t)st.st_size;
    return true;
}

static void log_flush(void) {
    if (!logfile.used)
        return;
    if (logfile.fd >= 0 && write_all(logfile.fd, logfile.batch, logfile.used)) {
        logfile.size += logfile.used;
    } else { /* a full disk must not stop the container: the text is lost, and that is said once */
        if (!logfile.broken)
            tell(NULL, "log-error %s", strerror(errno));
        logfile.broken = true;
        if (logfile.fd >= 0 && ftruncate(logfile.fd, (off_t)logfile.size) < 0) /* no half records */
            close_fd(&logfile.fd);
    }
    logfile.used = 0;
}

/* Move path.N[.gz] to path.N+1[.gz], the oldest falling off, and begin a new file. */
static void log_rotate(void) {
    static const char *const suffix[2] = {"", ".gz"};
    if (logfile.gzip)
        return; /* path.1 is being compressed: the next record tries again, the file grows a little meanwhile */
    if (option.log_files < 2) {
        if (ftruncate(logfile.fd, 0) == 0)
            logfile.size = 0;
        return;
    }
    char from[4096], to[4096];
    for (unsigned long n = option.log_files - 1; n; n--)
        for (int s = 0; s < 2; s++) {
            snprintf(to, sizeof to, "%s.%lu%s", option.log_path, n, suffix[s]);
            if (n == option.log_files - 1)
                unlink(to);
            if (n > 1) {
                snprintf(from, sizeof from, "%s.%lu%s", option.log_path, n - 1, suffix[s]);
                rename(from, to);
            }
        }
    snprintf(to, sizeof to, "%s.1", option.log_path);
    rename(option.log_path, to);
    close(logfile.fd);
    log_open(); /* if that fails the next write will say so */
    if (option.compress && (logfile.gzip = fork()) == 0) {
        /* gzip writes path.1.gz, then removes path.1: a reader takes the plain one while both are there. */
        dup2(null_fd, 1);
        dup2(null_fd, 2);
        (void)!nice(19);
        execlp("gzip", "gzip", "-nf", "--", to, (char *)NULL);
        _exit(127);
    }
    if (logfile.gzip < 0)
        logfile.gzip = 0;
}

/* Return the length of the character at s (n bytes left) if it is valid UTF-8, else 0. Unicode 15, table 3-7. */
static size_t utf8(const unsigned char *s, size_t n) {
    unsigned char c = s[0];
    size_t len = c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    if (!len || n < len)
        return 0;
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

/* Copy n bytes by words: most runs are too short for memcpy to be worth its call. Writes up to SLACK more. */
static char *copy(char *to, const char *from, size_t n) {
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        memcpy(to + i, from + i, sizeof(uint64_t));
        __asm__ volatile("" ::: "memory"); /* or the compiler makes one memcpy of the loop */
    }
    return to + n;
}

/* Return how many of the 8 bytes at s come before the first that JSON text cannot hold as it is. One bit a byte
 * tells: its top one. A borrow may set wrong ones, but only above a right one, and the lowest is what counts. */
static size_t json_plain(const unsigned char *s) {
    const uint64_t ones = 0x0101010101010101u, tops = ones * 0x80;
    uint64_t word;
    memcpy(&word, s, sizeof word);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        word = __builtin_bswap64(word);
    uint64_t quote = (word | ones * 0x04) ^ ones * 0x26; /* a zero byte for " and & */
    uint64_t angle = (word | ones * 0x02) ^ ones * 0x3E; /* < and > */
    uint64_t slash = word ^ ones * 0x5C;
    uint64_t special = ((quote - ones) & ~quote) | ((angle - ones) & ~angle) | ((slash - ones) & ~slash) |
                       ((word - ones * 0x20) & ~word) | word;
    special &= tops;
    return special ? (size_t)__builtin_ctzll(special) / 8 : 8;
}

/* Go's JSON string of the n bytes at s, without the quotes: every escape as encoding/json writes it. */
static char *json_text(char *to, const unsigned char *s, size_t n) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n;) {
        size_t plain = json_plain(s + i), left = n - i, len = 1;
        memcpy(to, s + i, sizeof(uint64_t));
        plain = plain < left ? plain : left;
        to += plain;
        i += plain;
        if (plain == 8 || i == n)
            continue;
        unsigned char c = s[i];
        if (c == '"' || c == '\\' || c == '\n' || c == '\r') {
            *to++ = '\\';
            *to++ = c == '\n' ? 'n' : c == '\r' ? 'r' : (char)c;
        } else if (c < 0x80) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[c >> 4];
            to[5] = hex[c & 15];
            to += 6;
        } else if (!(len = utf8(s + i, n - i))) {
            to = stpcpy(to, "\\ufffd");
            len = 1;
        } else if (c == 0xE2 && s[i + 1] == 0x80 && (s[i + 2] & 0xFE) == 0xA8) { /* U+2028 and U+2029 */
            to = stpcpy(to, "\\u202");
            *to++ = hex[s[i + 2] & 15];
        } else {
            memcpy(to, s + i, 4);
            to += len;
        }
        i += len;
    }
    return to;
}

/* RFC 3339 in UTC, no zeros at the end of the fraction (Go's RFC3339Nano). */
static char *rfc3339(char *to, uint64_t ns) {
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    to += strftime(to, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    if (ns % 1000000000u) {
        to += sprintf(to, ".%09u", (unsigned)(ns % 1000000000u));
        while (to[-1] == '0')
            to--;
    }
    return stpcpy(to, "Z");
}

static char *varint(char *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        *to++ = (char)(value | 0x80);
    *to++ = (char)value;
    return to;
}

static char *field(char *to, unsigned tag, const char *data, size_t n) {
    *to++ = (char)(tag << 3 | 2);
    to = varint(to, n);
    memcpy(to, data, n);
    return to + n;
}

static char *be32(char *to, size_t n) {
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(n >> shift);
    return to;
}

/* One record of the "local" driver: size, protobuf LogEntry, size. */
static char *local_record(char *to, int stream, struct line *line, const char *data, size_t n, bool last, uint64_t ns) {
    char *start = to;
    to += 4;
    to = field(to, 1, STREAM[stream], 6);
    *to++ = 2 << 3;
    to = varint(to, ns);
    if (n)
        to = field(to, 3, data, n);
    if (line->ordinal) {
        char meta[96], *m = meta;
        *to++ = 4 << 3;
        *to++ = 1;
        if (last) {
            *m++ = 1 << 3;
            *m++ = 1;
        }
        m = field(m, 2, line->id, 64);
        *m++ = 3 << 3;
        m = varint(m, line->ordinal);
        to = field(to, 5, meta, (size_t)(m - meta));
    }
    size_t size = (size_t)(to - start) - 4;
    be32(start, size);
    return be32(to, size);
}

/* All of a json-file record that follows its text: the same for every line that was read at one time. */
static const char *json_tail(int stream, uint64_t ns, size_t *length) {
    static struct { uint64_t ns; size_t length; char *text; } tails[2];
    if (!tails[stream].text)
        tails[stream].text = malloc(128 + logfile.attrs_len + SLACK);
    if (tails[stream].ns != ns) {
        char *to = stpcpy(stpcpy(tails[stream].text, "\\n\",\"stream\":\""), STREAM[stream]);
        if (logfile.attrs_len)
            to = stpcpy(stpcpy(to, "\",\"attrs\":"), option.log_attrs);
        to = stpcpy(rfc3339(stpcpy(to, logfile.attrs_len ? ",\"time\":\"" : "\",\"time\":\""), ns), "\"}\n");
        tails[stream].ns = ns;
        tails[stream].length = (size_t)(to - tails[stream].text);
    }
    *length = tails[stream].length;
    return tails[stream].text;
}

/* Add one record to the batch; last is false for all but the last piece of a long line. */
static void log_record(int stream, const char *data, size_t n, bool last, uint64_t ns) {
    struct line *line = &logfile.lines[stream];
    if (logfile.used + RECORD + logfile.attrs_len > logfile.room)
        log_flush();
    if (option.log_size && logfile.size + logfile.used >= option.log_size) {
        log_flush();
        if (logfile.fd >= 0)
            log_rotate();
    }
    if (!last && !line->ordinal) { /* the first piece: its time and a random id tie the pieces together */
        unsigned char random[32] = {0};
        (void)!getrandom(random, sizeof random, 0);
        for (int i = 0; i < 32; i++)
            snprintf(line->id + 2 * i, 3, "%02x", random[i]);
        line->ns = ns;
    }
    if (line->ordinal || !last) {
        ns = line->ns;
        line->ordinal++;
    }
    char *to = logfile.batch + logfile.used;
    if (logfile.local) {
        to = local_record(to, stream, line, data, n, last, ns);
    } else {
        size_t length;
        const char *tail = json_tail(stream, ns, &length);
        memcpy(to, "{\"log\":\"", 8);
        to = json_text(to + 8, (const unsigned char *)data, n);
        size_t skip = last ? 0 : 2; /* a piece has no \n */
        to = copy(to, tail + skip, length - skip);
    }
    logfile.used = (size_t)(to - logfile.batch);
    if (last)
        line->ordinal = 0;
}

/* Log n bytes of output, one clock reading and (normally) one write for all of them. */
static void log_append(int stream, const char *data, size_t n) {
    struct line *line = &logfile.lines[stream];
    uint64_t ns = clock_ns(CLOCK_REALTIME);
    while (n) {
        size_t room = PIECE - line->used, look = n < room ? n : room;
        const char *end = memchr(data, '\n', look);
        size_t take = end ? (size_t)(end - data) : look;
        const char *text = data;
        size_t length = take;
        if (line->used || (!end && look < room)) { /* part of it came before, or part of it is still to come */
            memcpy(line->data + line->used, data, take);
            line->used += take;
            text = line->data;
            length = line->used;
        }
        data += take + (end != NULL);
        n -= take + (end != NULL);
        if (end || length == PIECE) {
            log_record(stream, text, length, end != NULL, ns);
            line->used = 0;
        }
    }
    log_flush();
}

/* The output is over: log what came without a newline. */
static void log_finish(void) {
    for (int stream = 0; stream < 2; stream++) {
        struct line *line = &logfile.lines[stream];
        if (line->used)
            log_record(stream, line->data, line->used, false, clock_ns(CLOCK_REALTIME));
        line->used = 0;
    }
    log_flush();
    close_fd(&logfile.fd);
}

/* ------------------------------------------------------------------------------------------------ clients' output */

/* What to wait for from a client. Edge-triggered where nothing is to be read: a hang-up, which no mask can keep
 * away, is then told once instead of for ever. Writing goes on until the socket is full, so that edge is enough. */
static void client_watch(struct client *c) {
    struct process *p = c->process;
    bool read = c->input && !c->leaving && !p->pending && (p->in.fd >= 0 || p->pid);
    watch_set(&c->watch, (read ? EPOLLIN : EPOLLET) | (c->from < c->to ? EPOLLOUT : 0u));
}

/* A process is held back while one of its clients is a good deal behind and still moving. */
static void pace(struct process *p) {
    bool hold = false;
    for (struct client *c = p->clients; c; c = c->next)
        hold |= c->lagging;
    if (p->command || p->ended) /* before the start the pipes may hold the runtime's own complaints */
        return;
    for (int i = 0; i < 2; i++)
        watch_set(&p->out[i], hold ? 0 : EPOLLIN);
}

static void input_ended(struct client *c);

static void client_drop(struct client *c) {
    struct process *p = c->process;
    for (struct client **at = &p->clients; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    c->leaving = true;
    if (c->input)
        input_ended(c);
    /* Somebody else may hold the same connection open, so say the end in so many words; and read what it still
     * says, for a close over unread input would reach it as a reset instead of an end. */
    static char waste[4096];
    shutdown(c->watch.fd, SHUT_WR);
    for (int i = 0; i < 64 && recv(c->watch.fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        ;
    watch_close(&c->watch);
    free(c->queue);
    free(c);
    pace(p);
}

/* It gets what is queued for it, and then the end. */
static void client_leave(struct client *c) {
    c->leaving = true;
    if (c->from == c->to) {
        client_drop(c);
        return;
    }
    c->lagging = false;
    c->moved_ms = now_ms();
    client_watch(c);
}

static bool client_enqueue(struct client *c, const char *data, size_t n) {
    if (c->to + n > c->size) {
        memmove(c->queue, c->queue + c->from, c->to - c->from);
        c->to -= c->from;
        c->from = 0;
        if (c->to + n > QUEUE_MAX)
            return false;
        if (c->to + n > c->size) {
            size_t size = (c->to + n + GROWTH) & ~(size_t)(GROWTH - 1);
            char *bigger = realloc(c->queue, size);
            if (!bigger)
                return false;
            c->queue = bigger;
            c->size = size;
        }
    }
    memcpy(c->queue + c->to, data, n);
    c->to += n;
    return true;
}

/* Send output to one client: at once if nothing waits for it, the rest by way of its queue. */
static void client_send(struct client *c, int stream, const char *data, size_t n) {
    unsigned char header[8] = {(unsigned char)(stream + 1)};
    be32((char *)header + 4, n);
    size_t head = c->process->tty ? 0 : sizeof header, done = 0;
    if (c->from == c->to) {
        struct iovec parts[2] = {{header, head}, {(void *)(uintptr_t)data, n}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(c->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            client_drop(c);
            return;
        }
        done = sent < 0 ? 0 : (size_t)sent;
        c->moved_ms = now_ms();
    }
    if (done == head + n)
        return;
    size_t skip = done < head ? 0 : done - head;
    if ((done < head && !client_enqueue(c, (char *)header + done, head - done)) ||
        !client_enqueue(c, data + skip, n - skip)) {
        client_drop(c);
        return;
    }
    client_watch(c);
    if (c->to - c->from > LAG && !c->lagging) {
        c->lagging = true;
        pace(c->process);
    }
}

/* Send from the queue; return false if the client went away (and is freed). */
static bool client_flush(struct client *c) {
    while (c->from < c->to) {
        ssize_t sent = send(c->watch.fd, c->queue + c->from, c->to - c->from, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            client_drop(c);
            return false;
        }
        c->from += (size_t)sent;
        c->moved_ms = now_ms();
    }
    if (c->from == c->to) {
        free(c->queue);
        c->queue = NULL;
        c->from = c->to = c->size = 0;
        if (c->leaving) {
            client_drop(c);
            return false;
        }
        client_watch(c);
    }
    if (c->lagging && c->to - c->from < LAG / 2) {
        c->lagging = false;
        pace(c->process);
    }
    return true;
}

/* Cut off the clients that have not moved although they hold something up. */
static void drop_stalled(struct process *p) {
    uint64_t now = now_ms();
    for (struct client *c = p->clients, *next; c; c = next) {
        next = c->next;
        if ((c->lagging || c->leaving) && now - c->moved_ms > STALL_MS)
            client_drop(c);
    }
}

/* ------------------------------------------------------------------------------------------------- clients' input */

static void input_close(struct process *p) {
    free(p->pending);
    p->pending = NULL;
    watch_close(&p->in);
}

/* Read from the clients exactly while the process takes what they say. */
static void input_pace(struct process *p) {
    for (struct client *c = p->clients; c; c = c->next)
        client_watch(c);
}

static void input_ready(struct watch *w, uint32_t events) {
    struct process *p = w->owner;
    ssize_t done = write(w->fd, p->pending + p->pending_from, p->pending_to - p->pending_from);
    if (done < 0 && errno != EAGAIN && errno != EINTR) { /* it has closed its stdin: what is said now is lost */
        input_close(p);
    } else {
        p->pending_from += done > 0 ? (size_t)done : 0;
        if (p->pending_from < p->pending_to) {
            watch_set(w, EPOLLOUT);
            return;
        }
        free(p->pending);
        p->pending = NULL;
        watch_set(w, 0);
        if (p->input_over)
            input_close(p);
    }
    input_pace(p);
}

/* Give input to the process. What it does not take at once waits, and no client is read meanwhile. */
static void input_write(struct process *p, const char *data, size_t n) {
    if (p->in.fd < 0 || p->input_over || !(p->pending = malloc(n)))
        return;
    memcpy(p->pending, data, n);
    p->pending_from = 0;
    p->pending_to = n;
    input_ready(&p->in, 0);
    if (p->pending)
        input_pace(p);
}

/* A client said its last word. Docker: with StdinOnce (and for an exec) that closes the process's stdin; otherwise,
 * and always with a terminal, the client is detached. */
static void input_ended(struct client *c) {
    struct process *p = c->process;
    c->input = false;
    if (p->close_stdin && !p->tty) {
        if (p->pending)
            p->input_over = true;
        else
            input_close(p);
    } else if (!c->leaving) {
        client_leave(c);
        return;
    }
    if (!c->leaving)
        client_watch(c);
}

static void client_ready(struct watch *w, uint32_t events) {
    struct client *c = w->owner;
    if (events & EPOLLOUT && !client_flush(c))
        return;
    if (w->events & EPOLLIN) {
        if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            return;
        chunk_dirty = true;
        ssize_t n = recv(w->fd, chunk, CHUNK, MSG_DONTWAIT);
        if (n > 0)
            input_write(c->process, chunk, (size_t)n);
        else if (n == 0 && !(events & (EPOLLHUP | EPOLLERR)))
            input_ended(c); /* frees it, perhaps */
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            client_drop(c);
    } else if (events & (EPOLLHUP | EPOLLERR) && !c->input) {
        client_drop(c); /* one that still has input for us to read is dropped when that is read */
    }
}

/* Take over fd as a client; streams is any of "ioe". */
static void client_add(struct process *p, int fd, const char *streams) {
    struct client *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->process = p;
    c->watch = (struct watch){.fd = fd, .ready = client_ready, .owner = c};
    c->input = p->takes_input && strchr(streams, 'i');
    c->output[0] = strchr(streams, 'o') != NULL;
    c->output[1] = strchr(streams, 'e') != NULL;
    c->next = p->clients;
    p->clients = c;
    client_watch(c);
}

/* --------------------------------------------------------------------------------------------- processes' output */

static void deliver(struct process *p, int stream, const char *data, size_t n) {
    if (p == &init && logfile.batch)
        log_append(stream, data, n);
    for (struct client *c = p->clients, *next; c; c = next) {
        next = c->next;
        if (c->output[stream] && !c->leaving)
            client_send(c, stream, data, n);
    }
}

static void process_finish(struct process *p);

/* Read once and pass it on; return how much it was, 0 if there is nothing at the moment or ever again. */
static ssize_t output_read(struct process *p, int stream) {
    struct watch *w = &p->out[stream];
    if (w->fd < 0)
        return 0;
    chunk_dirty = true;
    ssize_t n = read(w->fd, chunk, CHUNK);
    if (n >= FULL_PIPE && !p->wide[stream]) {
        p->wide[stream] = true;
        fcntl(w->fd, F_SETPIPE_SZ, PIPE); /* if it may not be that large it stays as it is */
    }
    if (n > 0)
        deliver(p, stream, chunk, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        watch_close(w);
    return n > 0 ? n : 0;
}

static void output_ready(struct watch *w, uint32_t events) {
    struct process *p = w->owner;
    output_read(p, (int)(w - p->out));
    if (p->ended && p->out[0].fd < 0 && p->out[1].fd < 0)
        process_finish(p);
}

/* --------------------------------------------------------------------------------------------------- memory limits */

static int oom_file = -1; /* counts the kills: memory.events of cgroup v2, memory.oom_control of v1 */

static int memory_open(const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", option.memory, name);
    return option.memory ? open(path, flags | O_CLOEXEC) : -1;
}

/* Return how many processes of the container's cgroup the kernel killed for want of memory. */
static unsigned long oom_kills(void) {
    char text[512] = "";
    ssize_t n = pread(oom_file, text, sizeof text - 1, 0);
    const char *at = n > 0 ? strstr(text, "oom_kill ") : NULL;
    return at ? strtoul(at + 9, NULL, 10) : 0;
}

static void oom_ready(struct watch *w, uint32_t events) {
    static unsigned long known;
    uint64_t count;
    if (w->fd == oom_file) { /* v2: the file changed, perhaps for a lesser reason; reading it arms the next event */
        unsigned long kills = oom_kills();
        if (kills <= known)
            return;
        known = kills;
    } else if (read(w->fd, &count, sizeof count) != sizeof count) {
        return;
    }
    tell(NULL, "oom");
}

static void oom_open(void) {
    oom_watch.ready = oom_ready;
    if ((oom_file = memory_open("memory.events", O_RDONLY)) >= 0) {
        oom_watch.fd = oom_file;
        oom_ready(&oom_watch, 0);
        watch_set(&oom_watch, EPOLLPRI);
        return;
    }
    oom_file = memory_open("memory.oom_control", O_RDONLY);
    int control = memory_open("cgroup.event_control", O_WRONLY), event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (oom_file >= 0 && control >= 0 && event >= 0 && dprintf(control, "%d %d", event, oom_file) > 0) {
        oom_watch.fd = event;
        watch_set(&oom_watch, EPOLLIN);
    } else {
        close_fd(&event);
    }
    close_fd(&control);
}

/* ---------------------------------------------------------------------------------------- the end of a process */

static int exit_code(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

/* All is read: write it down, tell it, and let the clients have the rest. */
static void process_finish(struct process *p) {
    char text[128];
    p->finished = true;
    for (int i = 0; i < 2; i++)
        watch_close(&p->out[i]);
    input_close(p);
    close_fd(&p->slave);
    if (p == &init) {
        if (logfile.batch)
            log_finish();
        bool oom = oom_kills() > 0;
        snprintf(text, sizeof text, "%d %d %llu\n", exit_code(p->status), oom, (unsigned long long)p->ended_ns);
        write_file("exit", text);
        unlinkat(dir_fd, "shim.sock", 0);
        watch_close(&listener);
        watch_close(&oom_watch);
        tell(NULL, "exit %s", text);
        for (struct process *e = execs; e; e = e->next)
            if (e->pid)
                kill(e->pid, SIGKILL);
    } else {
        int code = exit_code(p->status);
        unsigned long long ns = p->ended_ns;
        if (!tell(NULL, "exec-exit %s %d %llu", p->id, code, ns)) {
            char name[128];
            snprintf(text, sizeof text, "%d %llu\n", code, ns);
            snprintf(name, sizeof name, "exec-%s.exit", p->id);
            write_file(name, text);
        }
    }
    for (struct client *c = p->clients, *next; c; c = next) {
        next = c->next;
        client_leave(c);
    }
}

/* The process ended: all that it wrote is in the pipes by now. Read that, whatever the clients do, but no more: a
 * stranger may hold a pipe open and write on. In that case let a moment pass before the pipes are closed. */
static void process_ended(struct process *p, int status) {
    p->status = status;
    p->ended_ns = clock_ns(CLOCK_REALTIME);
    p->pid = 0;
    p->ended = true;
    for (int i = 0; i < 2; i++) {
        int left = TTY_BUFFER; /* a terminal cannot be asked how much is on its way */
        if (!p->tty && ioctl(p->out[i].fd, FIONREAD, &left) < 0)
            continue;
        for (ssize_t n; left > 0 && (n = output_read(p, i)); left -= (int)n)
            ;
        if (!p->tty)
            output_read(p, i); /* the end, most likely */
    }
    if (p->tty || (p->out[0].fd < 0 && p->out[1].fd < 0)) {
        process_finish(p);
        return;
    }
    p->linger_ms = now_ms() + LINGER_MS;
    for (int i = 0; i < 2; i++)
        watch_set(&p->out[i], EPOLLIN);
}

static void process_free(struct process *p) {
    for (struct client *c = p->clients, *next; c; c = next) {
        next = c->next;
        client_drop(c);
    }
    for (int i = 0; i < 2; i++)
        watch_close(&p->out[i]);
    input_close(p);
    close_fd(&p->slave);
    close_fd(&p->runtime_log);
    close_fd(&p->console);
}

/* ------------------------------------------------------------------------------------------------- the runtime */

/* crun refuses a host where a controller sits on the unified tree beside v1 ones. In a mount namespace of its own
 * it does not see that tree. Only the mount above it stops propagating: everything else stays a peer of the host's,
 * so shared bind mounts of the container work as ever. */
static void hide_unified(void) {
    char path[4096];
    if (unshare(CLONE_NEWNS) < 0)
        return;
    snprintf(path, sizeof path, "%s", option.hide);
    for (char *slash; (slash = strrchr(path, '/'));) {
        slash[slash == path] = 0;
        if (mount(NULL, path, NULL, MS_PRIVATE, NULL) == 0 || slash == path)
            break; /* not a mount point: the next one above */
    }
    umount2(option.hide, MNT_DETACH);
}

/* Leave the host's mounts, which grow with the number of containers, for a namespace with only those of the view
 * and the trees that this container needs. The runtime copies all that it sees; here that is little. */
static bool enter_view(void) {
    int tree[TREES], n = 0;
    for (; n < TREES && option.trees[n]; n++)
        if ((tree[n] = (int)syscall(SYS_open_tree, AT_FDCWD, option.trees[n], OPEN_TREE_CLONE | O_CLOEXEC)) < 0)
            return false;
    if (setns((int)option.view_fd, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
        return false;
    while (n--)
        if (syscall(SYS_move_mount, tree[n], "", AT_FDCWD, option.trees[n], MOVE_MOUNT_F_EMPTY_PATH) < 0)
            return false;
    return true;
}

static void move_fd(int from, int to) {
    if (from == to)
        fcntl(to, F_SETFD, 0);
    else
        dup2(from, to);
}

static const int IGNORED[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU};

/* Start the runtime with the given stdio; its fd 3 is the log of errors, its fd 4 the exec's process document. */
static pid_t runtime_start(char **argv, const int stdio[3], int log_fd, int document, bool first) {
    pid_t pid = vfork(); /* it only makes system calls on its way to exec, so our memory is safe with it */
    if (pid)
        return pid;
    /* Every signal back to its default by the bare call: the daemon's posix_spawn leaves the two ignored that glibc
     * keeps for itself, and no library lets us touch those. Zeros are a struct sigaction with SIG_DFL. */
    static const char defaults[64];
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, defaults, NULL, 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (option.view_fd) { /* an exec attaches nothing: it can do without a copy of the view */
        if (first ? !enter_view() : setns((int)option.view_fd, CLONE_NEWNS) < 0) {
            dprintf(log_fd, "{\"level\":\"error\",\"msg\":\"cannot enter the view: %s\"}\n", strerror(errno));
            _exit(127);
        }
    } else if (first && option.hide) {
        hide_unified();
    }
    for (int i = 0; i < 3; i++)
        move_fd(stdio[i], i);
    move_fd(log_fd, 3);
    if (document >= 0)
        move_fd(document, 4);
    execv(option.runtime, argv);
    dprintf(3, "{\"level\":\"error\",\"msg\":\"cannot execute %s: %s\"}\n", option.name, strerror(errno));
    _exit(127);
}

/* A file's name for p in the run directory: KIND for init, KIND-ID for an exec. */
static const char *name_of(struct process *p, const char *kind) {
    static char name[96];
    snprintf(name, sizeof name, "%s%s%s", kind, *p->id ? "-" : "", p->id);
    return name;
}

static int unix_listen(const char *name, int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* By way of the directory's descriptor, a path of any length fits into an address. */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    unlinkat(dir_fd, name, 0);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0))
        close_fd(&fd);
    return fd;
}

/* Open the stdio of p and have the runtime make it: `run` for init, `exec` with the given document otherwise.
 * Returns false with errno set if that could not even begin. */
static bool process_launch(struct process *p, int document) {
    char pid_file[4096], console_path[160];
    int ends[3] = {-1, -1, -1}, pair[2];
    bool ok = true;
    p->command = -1;
    p->console = p->slave = -1;
    p->in = (struct watch){.fd = -1, .ready = input_ready, .owner = p};
    for (int i = 0; i < 2; i++)
        p->out[i] = (struct watch){.fd = -1, .ready = output_ready, .owner = p};
    p->runtime_log = memfd_create("runtime-log", MFD_CLOEXEC);
    ok &= p->runtime_log >= 0;
    if (ok && !p->tty && p->takes_input && (ok = pipe2(pair, O_CLOEXEC) == 0)) {
        ends[0] = pair[0];
        p->in.fd = pair[1];
        nonblocking(pair[1]);
    }
    for (int i = p->tty; ok && i < 2; i++) /* with a terminal only the runtime itself uses stderr */
        if ((ok = pipe2(pair, O_CLOEXEC) == 0)) {
            p->out[i].fd = pair[0];
            ends[i + 1] = pair[1];
            nonblocking(pair[0]);
        }
    if (ok && p->tty) {
        ok = (p->console = unix_listen(name_of(p, "tty"), SOCK_STREAM)) >= 0;
        /* The runtime reaches it through our descriptor, for the same reason. */
        snprintf(console_path, sizeof console_path, "/proc/%d/fd/%d/%s", getpid(), dir_fd, name_of(p, "tty"));
    }
    snprintf(pid_file, sizeof pid_file, "%s/%s", option.dir, name_of(p, "pid"));
    char *argv[24];
    int n = 0;
#define ARG(text) (argv[n++] = (char *)(uintptr_t)(text))
    ARG(option.name), ARG("--root"), ARG(option.root);
    ARG("--log"), ARG("/proc/self/fd/3"), ARG("--log-format"), ARG("json");
    if (p == &init)
        ARG("run"), ARG("--detach"), ARG("--bundle"), ARG(option.bundle);
    else
        ARG("exec"), ARG("--detach"), ARG("--process"), ARG("/proc/self/fd/4");
    ARG("--pid-file"), ARG(pid_file);
    if (p->tty)
        ARG("--console-socket"), ARG(console_path);
    ARG(option.id), ARG(NULL);
#undef ARG
    for (int i = 0; i < 3; i++)
        if (ends[i] < 0)
            ends[i] = null_fd;
    fchmod(null_fd, 0666); /* the runtime has given it to an earlier process's user, perhaps */
    if (ok) {
        p->command = runtime_start(argv, ends, p->runtime_log, document, p == &init);
        ok = p->command > 0;
    }
    int error = errno;
    for (int i = 0; i < 3; i++)
        if (ends[i] != null_fd)
            close(ends[i]);
    errno = error;
    return ok;
}

/* Take the terminal that the runtime sent. It has exited by now, so nothing here waits. */
static bool console_take(struct process *p) {
    char byte;
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int connection = accept4(p->console, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), master = -1;
    unlinkat(dir_fd, name_of(p, "tty"), 0);
    close_fd(&p->console);
    if (connection < 0)
        return false;
    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) >= 0)
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                memcpy(&master, CMSG_DATA(c), sizeof master);
    close(connection);
    if (master < 0)
        return false;
    nonblocking(master);
    watch_close(&p->out[1]);
    p->out[0].fd = master;
    p->in.fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
    p->slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->rows || p->cols)
        ioctl(master, TIOCSWINSZ, &(struct winsize){.ws_row = p->rows, .ws_col = p->cols});
    return true;
}

static pid_t pid_take(struct process *p) {
    char text[32] = "";
    int fd = openat(dir_fd, name_of(p, "pid"), O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
        *text = 0;
    close_fd(&fd);
    unlinkat(dir_fd, name_of(p, "pid"), 0);
    return (pid_t)strtol(text, NULL, 10);
}

/* Tell that the runtime failed, in its own words: its log, or else what it wrote to stderr. */
static void launch_failed(struct process *p, int status, const char *why) {
    char text[ERROR_TEXT + 64];
    int n = snprintf(text, sizeof text, "failed %u %d\n%s", p->request, exit_code(status), why ? why : "");
    ssize_t more = 0;
    off_t size = why || p->runtime_log < 0 ? 0 : lseek(p->runtime_log, 0, SEEK_END);
    if (size > 0)
        more = pread(p->runtime_log, text + n, ERROR_TEXT, size > ERROR_TEXT ? size - ERROR_TEXT : 0);
    else if (!why && p->out[1].fd >= 0)
        more = read(p->out[1].fd, text + n, ERROR_TEXT);
    size_t length = (size_t)n + (more > 0 ? (size_t)more : 0);
    if (p == &init) {
        char record[64];
        snprintf(record, sizeof record, "128 0 %llu\n", (unsigned long long)clock_ns(CLOCK_REALTIME));
        write_file("exit", record);
        unlinkat(dir_fd, "shim.sock", 0);
        for (struct control *c = controls, *next; c; c = next) {
            next = c->next;
            control_send(c, text, length);
        }
    } else if (p->asker) {
        control_send(p->asker, text, length);
    }
    process_free(p);
    p->finished = true;
}

/* The runtime command ended: the process runs, or it never will. */
static void command_ended(struct process *p, int status) {
    p->command = 0;
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    pid_t pid = pid_take(p);
    if (p->tty && !console_take(p) && ok) {
        if (pid > 0)
            kill(pid, SIGKILL);
        launch_failed(p, status, "the runtime sent no terminal");
        return;
    }
    if (!ok || pid <= 0) {
        launch_failed(p, status, ok ? "the runtime wrote no pid" : NULL);
        return;
    }
    close_fd(&p->runtime_log);
    p->pid = pid;
    p->started_ns = clock_ns(CLOCK_REALTIME);
    if (p == &init) {
        oom_open();
        tell(NULL, "started %d %llu", pid, (unsigned long long)p->started_ns);
        if (stopping)
            kill(pid, SIGKILL);
    } else {
        if (p->asker)
            tell(p->asker, "ok %u %d", p->request, pid);
        p->asker = NULL;
    }
    pace(p);
    input_pace(p); /* with a terminal there was nothing to write to until now */
    for (size_t i = 0; i < stray_count; i++)
        if (strays[i].pid == pid) { /* it was faster than its runtime */
            process_ended(p, strays[i].status);
            break;
        }
}

/* ------------------------------------------------------------------------------------------- children and requests */

static bool launching(void) {
    bool any = init.command > 0;
    for (struct process *p = execs; p; p = p->next)
        any |= p->command > 0;
    return any;
}

static void children_ready(struct watch *w, uint32_t events) {
    struct signalfd_siginfo info[16];
    int status;
    pid_t pid;
    while (read(w->fd, info, sizeof info) == sizeof info)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct process *command = NULL, *process = NULL;
        for (struct process *p = &init; p; p = p == &init ? execs : p->next) {
            if (p->command == pid)
                command = p;
            else if (p->pid == pid)
                process = p;
        }
        if (pid == logfile.gzip)
            logfile.gzip = 0;
        else if (command)
            command_ended(command, status);
        else if (process)
            process_ended(process, status);
        else if (launching()) { /* an orphan of the container, or a process whose pid we are about to learn */
            void *more = realloc(strays, (stray_count + 1) * sizeof *strays);
            if (more) {
                strays = more;
                strays[stray_count].pid = pid;
                strays[stray_count++].status = status;
            }
        }
    }
    if (!launching())
        stray_count = 0;
}

static struct process *exec_find(const char *id) {
    for (struct process *p = execs; p; p = p->next)
        if (id && strcmp(p->id, id) == 0 && !p->finished)
            return p;
    return NULL;
}

static void resize(struct process *p, const char *rows, const char *cols) {
    p->rows = rows ? (unsigned short)atoi(rows) : 0;
    p->cols = cols ? (unsigned short)atoi(cols) : 0;
    if (p->tty && p->out[0].fd >= 0)
        ioctl(p->out[0].fd, TIOCSWINSZ, &(struct winsize){.ws_row = p->rows, .ws_col = p->cols});
}

/* exec ID FLAGS STREAMS ROWS COLS, with the process document and perhaps a client; FLAGS: t(erminal), or -. */
static void exec_start(struct control *from, unsigned request, char **word, int words, int *fds, int count) {
    if (words < 7 || count < 1 || strlen(word[2]) >= sizeof init.id || exec_find(word[2])) {
        tell(from, "refused %u bad-request", request);
        return;
    }
    struct process *p = calloc(1, sizeof *p);
    if (!p) {
        tell(from, "refused %u no-memory", request);
        return;
    }
    strcpy(p->id, word[2]);
    p->request = request;
    p->asker = from;
    p->tty = strchr(word[3], 't') != NULL;
    p->close_stdin = true;
    p->rows = (unsigned short)atoi(word[5]);
    p->cols = (unsigned short)atoi(word[6]);
    p->next = execs;
    execs = p;
    p->takes_input = count > 1 && strchr(word[4], 'i');
    bool ok = process_launch(p, fds[0]);
    int error = errno;
    if (ok && count > 1) {
        client_add(p, fds[1], word[4]);
        fds[1] = -1;
    }
    if (!ok)
        launch_failed(p, 127 << 8, strerror(error));
}

static void control_ready(struct watch *w, uint32_t events) {
    struct control *c = w->owner;
    static char text[MESSAGE];
    union { struct cmsghdr header; char space[CMSG_SPACE(4 * sizeof(int))]; } control;
    struct iovec part = {text, sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fds[4] = {-1, -1, -1, -1}, count = 0;
    ssize_t n = recvmsg(w->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        control_drop(c);
        return;
    }
    for (struct cmsghdr *m = CMSG_FIRSTHDR(&message); m; m = CMSG_NXTHDR(&message, m))
        if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_RIGHTS) {
            count = (int)((m->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(m), (size_t)count * sizeof(int));
        }
    text[n] = 0;
    char *word[8] = {NULL}, *rest = text;
    int words = 0;
    while (words < 8 && (word[words] = strsep(&rest, " ")))
        words++;
    unsigned request = (unsigned)strtoul(word[0], NULL, 10);
    const char *verb = words > 1 ? word[1] : "";
    struct process *exec;
    bool running = init.pid > 0;
    if (strcmp(verb, "stop") == 0) {
        stopping = true;
        if (running)
            kill(init.pid, SIGKILL);
        tell(c, "ok %u", request);
    } else if (!running) {
        tell(c, "refused %u not-running", request);
    } else if (strcmp(verb, "attach") == 0 && words == 3 && count == 1) {
        client_add(&init, fds[0], word[2]);
        fds[0] = -1;
        tell(c, "ok %u", request);
    } else if (strcmp(verb, "kill") == 0 && words == 3) {
        if (kill(init.pid, atoi(word[2])) == 0)
            tell(c, "ok %u", request);
        else
            tell(c, "refused %u errno-%d", request, errno);
    } else if (strcmp(verb, "resize") == 0 && words == 4) {
        resize(&init, word[2], word[3]);
        tell(c, "ok %u", request);
    } else if (strcmp(verb, "exec-resize") == 0 && words == 5) {
        if ((exec = exec_find(word[2]))) {
            resize(exec, word[3], word[4]);
            tell(c, "ok %u", request);
        } else {
            tell(c, "refused %u not-running", request);
        }
    } else if (strcmp(verb, "exec") == 0) {
        exec_start(c, request, word, words, fds, count);
    } else {
        tell(c, "refused %u bad-request", request);
    }
    for (int i = 0; i < count; i++)
        close_fd(&fds[i]);
}

static struct control *control_add(int fd) {
    struct control *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->watch = (struct watch){.fd = fd, .ready = control_ready, .owner = c};
    c->next = controls;
    controls = c;
    watch_set(&c->watch, EPOLLIN);
    return c;
}

static void listener_ready(struct watch *w, uint32_t events) {
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct control *c = control_add(fd);
    if (c && init.pid)
        tell(c, "started %d %llu", init.pid, (unsigned long long)init.started_ns);
}

/* ---------------------------------------------------------------------------------------------------------- main */

static void fail(const char *what) {
    char text[512];
    int n = snprintf(text, sizeof text, "failed 0 125\n%s: %s", what, strerror(errno));
    if (send(CONTROL_FD, text, (size_t)n, MSG_NOSIGNAL) < 0)
        dprintf(2, "sampan-shim: %s\n", text);
    _exit(1);
}

static void log_setup(void) {
    if (!option.log_driver)
        return;
    logfile.local = strcmp(option.log_driver, "local") == 0;
    logfile.attrs_len = option.log_attrs ? strlen(option.log_attrs) + 16 : 0;
    logfile.room = BATCH + logfile.attrs_len;
    logfile.batch = mmap(NULL, logfile.room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (logfile.batch == MAP_FAILED || !log_open())
        fail("failed to initialize logging driver");
}

/* Wait for one event and handle it. */
static void turn(void) {
    int timeout = chunk_dirty ? IDLE_MS : -1;
    struct epoll_event event;
    for (struct process *p = &init; p; p = p == &init ? execs : p->next) {
        for (struct client *c = p->clients; c; c = c->next)
            if (c->lagging || c->leaving)
                timeout = IDLE_MS;
        if (p->linger_ms && !p->finished) {
            uint64_t now = now_ms();
            timeout = now < p->linger_ms ? (int)(p->linger_ms - now) : 0;
        }
    }
    int n = epoll_wait(epoll_fd, &event, 1, timeout);
    if (n == 1) {
        struct watch *w = event.data.ptr;
        w->ready(w, event.events);
    } else if (n == 0 && chunk_dirty) {
        /* Quiet again: hand the pages of the buffers back. */
        madvise(chunk, CHUNK, MADV_DONTNEED);
        if (logfile.batch)
            madvise(logfile.batch, logfile.room, MADV_DONTNEED);
        chunk_dirty = false;
    }
    for (struct process *p = &init, *next; p; p = next) {
        next = p == &init ? execs : p->next;
        if (p->linger_ms && !p->finished && now_ms() >= p->linger_ms)
            process_finish(p);
        drop_stalled(p);
    }
    for (struct process **at = &execs; *at;) {
        struct process *p = *at;
        if (p->finished && !p->clients) {
            *at = p->next;
            process_free(p);
            free(p);
        } else {
            at = &p->next;
        }
    }
}

static void parse_option(const char *name, const char *value) {
    static const struct { const char *name, **text; unsigned long *number; } options[] = {
        {"--id", &option.id, NULL}, {"--dir", &option.dir, NULL}, {"--bundle", &option.bundle, NULL},
        {"--root", &option.root, NULL}, {"--runtime", &option.runtime, NULL}, {"--name", &option.name, NULL},
        {"--runtime-fd", NULL, &option.runtime_fd}, {"--hide", &option.hide, NULL},
        {"--view-fd", NULL, &option.view_fd},
        {"--memory", &option.memory, NULL}, {"--stdin", &option.input, NULL}, {"--tty", NULL, &option.tty},
        {"--rows", NULL, &option.rows}, {"--cols", NULL, &option.cols},
        {"--log-driver", &option.log_driver, NULL}, {"--log-path", &option.log_path, NULL},
        {"--log-attrs", &option.log_attrs, NULL}, {"--log-size", NULL, &option.log_size},
        {"--log-files", NULL, &option.log_files}, {"--log-compress", NULL, &option.compress},
    };
    for (int i = 0; i < TREES && strcmp(name, "--tree") == 0; i++)
        if (!option.trees[i]) {
            option.trees[i] = value;
            break;
        }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(name, options[i].name) == 0) {
            if (options[i].text)
                *options[i].text = value;
            else
                *options[i].number = strtoul(value, NULL, 10);
        }
}

int main(int argc, char **argv) {
    int last_fd = CONTROL_FD;
    static char runtime_path[32];
    errno = EINVAL;
    for (int i = 1; i + 1 < argc; i += 2) {
        parse_option(argv[i], argv[i + 1]);
        if (strcmp(argv[i], "--client") == 0 || strcmp(argv[i], "--runtime-fd") == 0 || strcmp(argv[i], "--view-fd") == 0)
            last_fd = atoi(argv[i + 1]) > last_fd ? atoi(argv[i + 1]) : last_fd;
    }
    if (!option.id || !option.dir || !option.bundle || !option.root || (!option.runtime && !option.runtime_fd) ||
        (option.log_driver && !option.log_path))
        fail("sampan-shim is started by sampand");
    syscall(SYS_close_range, last_fd + 1, ~0U, 0);
    for (int fd = CONTROL_FD; fd <= last_fd; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (option.runtime_fd) {
        int high = fcntl((int)option.runtime_fd, F_DUPFD_CLOEXEC, HIGH_FD);
        snprintf(runtime_path, sizeof runtime_path, "/proc/self/fd/%d", high);
        option.runtime = runtime_path;
    }
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        signal(IGNORED[i], SIG_IGN);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_SETMASK, &chld, NULL);
    null_fd = open("/proc/self/fd/0", O_RDWR | O_CLOEXEC); /* the daemon's own null device */
    dir_fd = open(option.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    children = (struct watch){.fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK), .ready = children_ready};
    if (null_fd < 0 || dir_fd < 0 || epoll_fd < 0 || children.fd < 0 || chdir("/") < 0 ||
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        fail("cannot set up the container's monitor");
    watch_set(&children, EPOLLIN);
    control_add(CONTROL_FD);
    listener = (struct watch){.fd = unix_listen("shim.sock", SOCK_SEQPACKET), .ready = listener_ready};
    if (listener.fd < 0)
        fail("cannot listen for the daemon");
    watch_set(&listener, EPOLLIN);
    log_setup();
    init.tty = option.tty;
    init.rows = (unsigned short)option.rows;
    init.cols = (unsigned short)option.cols;
    init.close_stdin = strcmp(option.input, "once") == 0;
    init.takes_input = strcmp(option.input, "none") != 0;
    if (!process_launch(&init, -1))
        fail("cannot start the runtime");
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--client") == 0)
            client_add(&init, atoi(argv[i + 1]), strchr(argv[i + 1], ':') ? strchr(argv[i + 1], ':') + 1 : "");
    while (!init.finished || init.clients || execs || logfile.gzip)
        turn();
    return 0;
}
