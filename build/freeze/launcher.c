/* Starts the frozen executable: the one static part of it, which needs nothing of its system but a kernel.
 *
 * Everything else that imq needs, its C library and Python among it, is here as one compressed block. Unpacking it at
 * each start would take as long as answering, so it is unpacked once, to a folder that is named after what is in it,
 * and kept. A start then only looks whether the folder is whole, and runs the program in it with the dynamic loader
 * that is in it too: nothing stays between, so signals, the exit code and the process are imq's own.
 *
 *   BASE/FOLDER/         what is unpacked; mode 0700, its owner is who runs it
 *   BASE/FOLDER/stamp    a struct stamp for each part as it was written; locked by each imq that runs from there
 *   BASE/FOLDER.part/    a folder that is being filled, or whose filling was killed
 *   BASE/lock            held while a folder is filled or removed
 *
 * BASE is the first of these that will do: $IMQ_CACHE; imq in the user's cache folder; imq-UID in the folder for
 * temporary files. Another user can write to the last one's parent, so a folder counts only if it is no link, belongs
 * to this user and is written by nobody else. Every folder on the way to it is checked too, from the root down: who can
 * rename one of them can put another folder in its place. Where none will do, a new folder is made, and a watcher
 * removes it when imq ends, however it ends.
 *
 * parts.h, which freeze.py writes, says what is in the block.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

struct part {
    const char *name; /* in the folder */
    long long size;
    mode_t mode;
};

#include "parts.h" /* FOLDER, LOADER, PROGRAM; PACKED and APPENDED, the sizes of the block and of the rest; parts[] */

#define COUNT (sizeof parts / sizeof *parts)
#define FAILED 3                   /* imq's exit code for "something that it needs failed" */
#define UNUSED_FOR (7 * 24 * 3600) /* seconds after which a folder of another version is removed */
#define STARTING 600               /* seconds that filling a folder for one run takes at most */
#define HIDDEN "_IMQ_ENV_"         /* how bootstrap.py finds what is kept from the dynamic loader */

/* In the file the block follows what the linker made, which ends with its table of sections, and the archive follows
 * the block: a file that is cut short is still a program. */
extern const Elf64_Ehdr __ehdr_start; /* the linker's name for where this file begins */
#define LINKED ((off_t)(__ehdr_start.e_shoff + __ehdr_start.e_shnum * __ehdr_start.e_shentsize))
#define DAMAGED "this executable is damaged: get it again"

struct stamp {
    long long inode, size, modified, modified_ns, changed, changed_ns; /* changed: the time that nobody can set */
};

static int executable;     /* this file */
static char reasons[4096]; /* why each place that was tried will not do, a line each */
static mode_t mask;        /* the user's file mode mask */

static bool because(const char *place, const char *why) {
    size_t used = strlen(reasons);
    snprintf(reasons + used, sizeof reasons - used, "  %s: %s\n", place, why);
    return false;
}

static char *text(const char *format, ...) {
    char *made;
    va_list values;
    va_start(values, format);
    if (vasprintf(&made, format, values) < 0)
        abort();
    va_end(values);
    return made;
}

/* Leave the numbers of the standard streams free: those that are closed have to be so for imq as well. */
static int above_streams(int descriptor) {
    return descriptor < 0 || descriptor > 2 ? descriptor : fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}

/* ---- what may be trusted ------------------------------------------------------------------------------------- */

static bool only_mine(const struct stat *found) {
    return S_ISDIR(found->st_mode) && found->st_uid == geteuid() && !(found->st_mode & (S_IWGRP | S_IWOTH));
}

/* Whether a user is this one, root, or the owner of the root folder: in a user namespace that is another number, and
 * everything on the system is at its owner's mercy anyway. */
static bool is_trusted(uid_t user) {
    struct stat root;
    return user == geteuid() || user == 0 || (stat("/", &root) == 0 && user == root.st_uid);
}

/* Whether nobody but trusted users can move or replace what they have in a folder. */
static bool keeps_safe(const struct stat *found) {
    return is_trusted(found->st_uid) && (!(found->st_mode & (S_IWGRP | S_IWOTH)) || (found->st_mode & S_ISVTX));
}

/* Open a folder for looking up names, every folder on the way to it checked and every link followed here; -1 if it will
 * not do. `real` becomes its path without links: as nobody else can change it, it goes on to mean the same folder. */
static int open_safe(const char *path, char **real) {
    struct stat found;
    char target[PATH_MAX];
    const char *rest = path;
    int links = 0, next, folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    *real = text("/");
    for (;; folder = next) {
        if (folder < 0 || fstat(folder, &found) != 0)
            break;
        if (!keeps_safe(&found)) {
            bool ours = is_trusted(found.st_uid);
            because(path, text(ours ? "others can move what lies in %s" : "%s belongs to another user", *real));
            close(folder);
            return -1;
        }
        rest += strspn(rest, "/");
        if (!*rest)
            return folder;
        char *name = strndup(rest, strcspn(rest, "/"));
        rest += strlen(name);
        next = -1;
        if (strcmp(name, "..") == 0) {
            *(strrchr(*real, '/') + (strrchr(*real, '/') == *real)) = 0;
            next = openat(folder, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        } else if (strcmp(name, ".") == 0) {
            next = openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        } else if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(found.st_mode)) {
            ssize_t size = readlinkat(folder, name, target, sizeof target - 1);
            if (!is_trusted(found.st_uid) || ++links > 40 || size < 0) {
                because(path, text("%s in %s is a link of another user, or leads nowhere", name, *real));
                close(folder);
                return -1;
            }
            target[size] = 0;
            rest = text("%s%s", target, rest);
            if (target[0] == '/')
                *real = text("/");
            next = openat(folder, target[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        } else {
            *real = text("%s/%s", strcmp(*real, "/") == 0 ? "" : *real, name);
            next = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        int problem = errno;
        close(folder);
        errno = problem;
    }
    because(path, strerror(errno));
    return -1;
}

static bool forbids_programs(int folder) {
    struct statvfs found;
    return fstatvfs(folder, &found) == 0 && (found.f_flag & ST_NOEXEC);
}

/* ---- looking at a folder, filling it, removing it ------------------------------------------------------------- */

static bool look(int folder, const char *name, struct stamp *seen) {
    struct stat found;
    if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(found.st_mode) ||
        found.st_uid != geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)))
        return false;
    *seen = (struct stamp){found.st_ino, found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec,
                           found.st_ctim.tv_sec, found.st_ctim.tv_nsec};
    return true;
}

/* Return the locked stamp of a whole folder, or -1. Its lock, which a run keeps, says that the folder is in use. */
static int open_whole(int base, const char *name) {
    struct stat found;
    struct stamp written[COUNT], seen;
    int stamp = -1, folder = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return -1;
    if (fstat(folder, &found) == 0 && only_mine(&found))
        stamp = openat(folder, "stamp", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool whole = stamp >= 0 && flock(stamp, LOCK_SH | LOCK_NB) == 0 && fstat(stamp, &found) == 0 &&
                 found.st_size == sizeof written && pread(stamp, written, sizeof written, 0) == sizeof written;
    for (size_t index = 0; whole && index < COUNT; index++)
        whole = look(folder, parts[index].name, &seen) && seen.size == parts[index].size &&
                memcmp(&seen, &written[index], sizeof seen) == 0;
    close(folder);
    if (!whole && stamp >= 0) {
        close(stamp);
        return -1;
    }
    if (whole && time(NULL) - found.st_mtim.tv_sec > UNUSED_FOR / 7)
        futimens(stamp, NULL);
    return above_streams(stamp);
}

static void remove_tree(int parent, const char *name) {
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = folder < 0 ? NULL : fdopendir(folder);
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(folder, entry->d_name, 0) != 0)
            remove_tree(folder, entry->d_name);
    if (listing)
        closedir(listing);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Remove the folders of a base that are of no more use: of versions long unused, of runs and fillings that were killed. */
static void sweep(int base, const char *prefix, long unkept_for) {
    int copy = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        struct stat found;
        const char *name = entry->d_name;
        bool has_our_name = *prefix ? strncmp(name, prefix, strlen(prefix)) == 0
                                    : strspn(name, "0123456789abcdef") == strlen(FOLDER) && strcmp(name, FOLDER) != 0;
        if (!has_our_name || fstatat(base, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !only_mine(&found))
            continue;
        char *path = text("%s/stamp", name), *part = strstr(name, ".part");
        int stamp = openat(base, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        bool is_kept = stamp >= 0 && !part && !*prefix && fstat(stamp, &found) == 0;
        if (time(NULL) - found.st_mtime >= (is_kept ? UNUSED_FOR : unkept_for) &&
            (stamp < 0 || flock(stamp, LOCK_EX | LOCK_NB) == 0))
            remove_tree(base, name);
        if (stamp >= 0)
            close(stamp);
        free(path);
    }
    if (listing)
        closedir(listing);
}

static bool write_file(int folder, const char *name, mode_t mode, const char *content, size_t size) {
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    for (ssize_t done; file >= 0 && size > 0; content += done, size -= done)
        if ((done = write(file, content, size)) < 0)
            break;
    int problem = file < 0 || size > 0 ? errno : 0;
    if (file >= 0 && close(file) != 0 && problem == 0)
        problem = errno;
    errno = problem;
    return problem == 0;
}

static bool make_folders_of(int folder, const char *name) {
    for (const char *end = name; (end = strchr(end, '/')); end++) {
        char *parent = strndup(name, end - name);
        bool made = mkdirat(folder, parent, 0700) == 0 || errno == EEXIST;
        free(parent);
        if (!made)
            return false;
    }
    return true;
}

/* Unpack all parts to an empty folder, the stamp last. On a problem errno says which; 0 says a damaged executable. */
static bool unpack(int folder) {
    struct stamp written[COUNT];
    size_t whole = 0, at = 0;
    for (size_t index = 0; index < COUNT; index++)
        whole += parts[index].size;
    char *content = malloc(whole), *block = malloc(PACKED);
    errno = content && block ? 0 : ENOMEM;
    bool good = content && block && pread(executable, block, PACKED, LINKED) == PACKED &&
                ZSTD_decompress(content, whole, block, PACKED) == whole;
    free(block);
    memset(written, 0, sizeof written);
    for (size_t index = 0; good && index < COUNT; at += parts[index++].size)
        good = make_folders_of(folder, parts[index].name) &&
               write_file(folder, parts[index].name, parts[index].mode, content + at, parts[index].size) &&
               look(folder, parts[index].name, &written[index]);
    free(content);
    return good && write_file(folder, "stamp", 0600, (char *)written, sizeof written);
}

static bool fill(int base, const char *name, const char *place) {
    if (mkdirat(base, name, 0700) != 0)
        return because(place, strerror(errno));
    int folder = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool good = folder >= 0 && unpack(folder);
    if (!good)
        because(place, errno ? strerror(errno) : DAMAGED);
    if (folder >= 0)
        close(folder);
    if (!good)
        remove_tree(base, name);
    return good;
}

/* ---- running what is in a folder ------------------------------------------------------------------------------ */

/* The dynamic loader and the C library look at the environment, and it is the user's: what they would take for theirs
 * is kept under other names, which bootstrap.py gives back before anything else can see them. */
static bool is_for_loaders(const char *variable) {
    static const char *const whole[] = {"LC_ALL=", "LOCPATH=", "GCONV_PATH=", "GLIBC_TUNABLES="};
    for (size_t index = 0; index < sizeof whole / sizeof *whole; index++)
        if (strncmp(variable, whole[index], strlen(whole[index])) == 0)
            return true;
    return strncmp(variable, "LD_", 3) == 0;
}

static void run(const char *place, int stamp, int watched, char **arguments) {
    size_t count = 0, variables = 0, at = 0;
    while (arguments[count])
        count++;
    while (environ[variables])
        variables++;
    char **environment = calloc(variables + 3, sizeof *environment), **command = calloc(count + 6, sizeof *command);
    if (!environment || !command)
        abort();
    for (size_t index = 0; index < variables; index++)
        environment[at++] = is_for_loaders(environ[index]) ? text(HIDDEN "%s", environ[index]) : environ[index];
    environment[at++] = "LC_ALL=C"; /* else the C library would load the host's locales and converters */
    environment[at++] = text("_IMQ_DESCRIPTORS=%d,%d,%d", executable, stamp, watched);
    at = 0;
    command[at++] = text("%s/" LOADER, place);
    command[at++] = "--inhibit-cache";
    command[at++] = "--library-path";
    command[at++] = text("%s/lib", place);
    command[at++] = text("%s/" PROGRAM, place);
    memcpy(command + at, arguments + 1, (count ? count - 1 : 0) * sizeof *command);
    fcntl(executable, F_SETFD, 0);
    fcntl(stamp, F_SETFD, 0);
    fcntl(watched, F_SETFD, 0);
    umask(mask);
    execve(command[0], command, environment);
    umask(077);
    because(place, errno == EACCES ? "no program may run from there" : strerror(errno));
}

/* ---- the places ----------------------------------------------------------------------------------------------- */

/* Open the folder `name` of `parent`, in which folders may be kept, made if need be; -1 if it will not do. `place`
 * becomes its path. */
static int open_base(const char *parent, const char *name, char **place) {
    struct stat found;
    int folder = open_safe(parent, place);
    if (folder < 0)
        return -1;
    *place = text("%s/%s", strcmp(*place, "/") == 0 ? "" : *place, name);
    if (mkdirat(folder, name, 0700) != 0 && errno != EEXIST) {
        because(*place, strerror(errno));
        close(folder);
        return -1;
    }
    int base = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int problem = errno;
    close(folder);
    errno = problem;
    const char *why = base < 0                                             ? strerror(errno)
                      : fstat(base, &found) != 0 || !only_mine(&found) ? "it belongs to others, or they can write there"
                      : forbids_programs(base)                         ? "no program may run from there (noexec)"
                                                                       : NULL;
    if (!why)
        return base;
    because(*place, why);
    if (base >= 0)
        close(base);
    return -1;
}

/* Make a folder unless it is there, if what it is to lie in will do. */
static void make_safe(const char *path) {
    char *parent = text("%s", path), *real;
    for (size_t end = strlen(parent); end > 1 && parent[end - 1] == '/'; end--)
        parent[end - 1] = 0;
    char *name = strrchr(parent, '/') + 1;
    if (!*name || access(path, F_OK) == 0)
        return;
    name = text("%s", name);
    *(strrchr(parent, '/') + (strrchr(parent, '/') == parent)) = 0;
    int folder = open_safe(parent, &real);
    if (folder >= 0) {
        mkdirat(folder, name, 0700);
        close(folder);
    }
}

/* Take the lock of a base; another filling takes a second, so one that takes ten is stopped or hangs. */
static int lock(int base, const char *place) {
    int file = openat(base, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    for (int tries = 0; file >= 0 && tries < 1000; tries++) {
        if (flock(file, LOCK_EX | LOCK_NB) == 0)
            return file;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    }
    because(place, strerror(errno));
    if (file >= 0)
        close(file);
    return -1;
}

/* Run from a folder that is kept in `parent`/`name`; return if that place will not do. */
static void run_kept(const char *parent, const char *name, char **arguments) {
    char *place;
    int base = open_base(parent, name, &place);
    if (base < 0)
        return;
    int stamp = open_whole(base, FOLDER);
    if (stamp < 0) {
        int held = lock(base, place);
        if (held >= 0 && (stamp = open_whole(base, FOLDER)) < 0) {
            sweep(base, "", 0);
            remove_tree(base, FOLDER);
            if (fill(base, FOLDER ".part", place) && renameat(base, FOLDER ".part", base, FOLDER) != 0)
                because(place, strerror(errno));
            if ((stamp = open_whole(base, FOLDER)) < 0)
                because(place, "what is unpacked there does not stay as it is");
        }
        if (held >= 0)
            close(held);
    }
    if (stamp >= 0)
        run(text("%s/" FOLDER, place), stamp, -1, arguments);
    close(base);
}

/* Wait in a process of its own until nobody holds the other end of a pipe any more, then remove a folder. */
static void watch(int ends[2], int parent, const char *name) {
    if (fork() != 0)
        return;
    setsid();
    if (chdir("/") != 0) /* else no file system could be unmounted where imq was started */
        _exit(FAILED);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    for (int descriptor = 0; descriptor < 1024; descriptor++)
        if (descriptor != ends[0] && descriptor != parent)
            close(descriptor);
    char nothing;
    while (read(ends[0], &nothing, 1) != 0)
        continue;
    remove_tree(parent, name);
    _exit(0);
}

/* Run from a folder for this run alone. */
static void run_private(const char *temporary, char **arguments) {
    char *real;
    int safe = open_safe(temporary, &real), ends[2];
    if (safe < 0)
        return;
    int parent = openat(safe, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 || pipe2(ends, O_CLOEXEC) != 0) {
        because(temporary, strerror(errno));
        return;
    }
    close(safe);
    if (forbids_programs(parent)) {
        because(temporary, "no program may run from there (noexec)");
        return;
    }
    char *prefix = text("imq-%u.", geteuid()), *place = text("%s/%sXXXXXX", strcmp(real, "/") == 0 ? "" : real, prefix);
    sweep(parent, prefix, STARTING);
    if (!mkdtemp(place)) {
        because(temporary, strerror(errno));
        return;
    }
    const char *name = strrchr(place, '/') + 1;
    watch(ends, parent, name);
    close(ends[0]);
    int base = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (base >= 0 && unpack(base)) {
        int stamp = open_whole(parent, name);
        if (stamp >= 0)
            run(place, stamp, above_streams(ends[1]), arguments);
    } else
        because(temporary, errno ? strerror(errno) : DAMAGED);
}

static const char *folder_of(const char *variable) {
    const char *value = getenv(variable);
    return value && value[0] == '/' ? value : NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *kept = getenv("IMQ_CACHE"), *cache = folder_of("XDG_CACHE_HOME"), *home = folder_of("HOME");
    const char *temporary = folder_of("TMPDIR") ? folder_of("TMPDIR") : "/tmp";
    if (getauxval(AT_SECURE)) {
        fprintf(stderr, "error[start]: imq does not run with rights that its file gives (set-user-ID or capabilities)\n");
        return FAILED;
    }
    executable = above_streams(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    if (executable < 0) {
        fprintf(stderr, "error[start]: imq cannot read /proc/self/exe: %s\nhint: mount /proc\n", strerror(errno));
        return FAILED;
    }
    struct stat found;
    if (fstat(executable, &found) == 0 && found.st_size != LINKED + PACKED + APPENDED) {
        fprintf(stderr, "error[start]: " DAMAGED "\n");
        return FAILED;
    }
    mask = umask(077);
    if (kept && kept[0] == '/') {
        make_safe(kept);
        run_kept(kept, "imq", argv);
    } else if (!kept || strcmp(kept, "off") != 0) {
        if (!cache && home)
            cache = text("%s/.cache", home);
        if (cache) {
            make_safe(cache);
            run_kept(cache, "imq", argv);
        }
        run_kept(temporary, text("imq-%u", geteuid()), argv);
    }
    run_private(temporary, argv);
    fprintf(stderr,
            "error[start]: imq found no place to unpack itself to\n%s"
            "hint: set IMQ_CACHE or TMPDIR to a folder that can be written to, and that programs may run from\n",
            reasons);
    return FAILED;
}
