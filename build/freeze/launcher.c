/* Starts the frozen executable. The launcher is its only static part and needs only a kernel.
 *
 * Everything else, including the C library and Python, follows as one compressed block. Unpacking it at each start
 * would take as long as a query. So it is unpacked once, to a folder that is named after its contents, and kept. A
 * start then only checks that the folder is complete, and replaces itself (execve) with the program in it, which the
 * dynamic loader in the folder runs. So signals, the exit code and the process are imq's own.
 *
 *   BASE/FOLDER/         the unpacked files; mode 0700, owned by the user
 *   BASE/FOLDER/stamp    a struct stamp for each part as it was written; each imq that runs from the folder locks it
 *   BASE/FOLDER.part/    a folder that is being filled, or whose filling was killed
 *   BASE/lock            held while a folder is filled or removed
 *
 * BASE is the first suitable one of: $IMQ_CACHE/imq; imq in the user's cache folder; imq-UID in the folder for
 * temporary files. Other users can write to the parent of the last one. So a folder must not be a link, must belong to
 * this user, and must not be writable for others. Every folder of its path is checked too, from the root down: a user
 * who can rename one of them can put another folder in its place. If no folder is suitable, a new one is created, and a
 * watcher process removes it when imq exits, even when imq is killed.
 *
 * parts.h, which freeze.py writes, describes the block.
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
#define FAILED 3                   /* imq's exit code for failures other than a wrong statement */
#define UNUSED_FOR (7 * 24 * 3600) /* seconds after which an unused folder of another version is removed */
#define MAX_START 600              /* the most seconds that filling a folder for one run takes */
#define HIDDEN "_IMQ_ENV_"         /* the prefix of variables that the dynamic loader must not read */

/* In the file, the block follows the linker's output, which ends with the table of sections. The archive follows the
 * block. A truncated file is still a program. */
extern const Elf64_Ehdr __ehdr_start; /* the linker's symbol for the start of this file */
#define LINKED ((off_t)(__ehdr_start.e_shoff + __ehdr_start.e_shnum * __ehdr_start.e_shentsize))
#define DAMAGED "this executable is damaged: download it again"

struct stamp {
    long long inode, size, modified, modified_ns, changed, changed_ns; /* changed: the ctime, which cannot be set */
};

static int executable;     /* the descriptor of this file */
static char reasons[4096]; /* why each folder that was tried is not suitable, one per line */
static mode_t mask;        /* the user's file mode mask */

/* Record why a folder is not suitable; return false. */
static bool add_reason(const char *folder, const char *reason) {
    size_t used = strlen(reasons);
    snprintf(reasons + used, sizeof reasons - used, "  %s: %s\n", folder, reason);
    return false;
}

static char *text(const char *format, ...) {
    char *formatted;
    va_list values;
    va_start(values, format);
    if (vasprintf(&formatted, format, values) < 0)
        abort();
    va_end(values);
    return formatted;
}

/* Move a descriptor above those of the standard streams: closed streams must stay closed for imq. */
static int above_streams(int descriptor) {
    return descriptor < 0 || descriptor > 2 ? descriptor : fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}

/* ---- trust --------------------------------------------------------------------------------------------------- */

static bool is_private(const struct stat *found) {
    return S_ISDIR(found->st_mode) && found->st_uid == geteuid() && !(found->st_mode & (S_IWGRP | S_IWOTH));
}

/* The user that a user namespace shows for all users without a number in it: root outside, and any other. */
static uid_t overflow_user(void) {
    unsigned user = 65534;
    FILE *file = fopen("/proc/sys/kernel/overflowuid", "re");
    if (file) {
        if (fscanf(file, "%u", &user) != 1)
            user = 65534;
        fclose(file);
    }
    return user;
}

static uid_t root_owner(void) {
    struct stat root;
    return stat("/", &root) == 0 ? root.st_uid : 0;
}

/* Whether a user is this one, root, or the owner of the root folder, who controls the whole system. In a user namespace
 * that owner is not user 0. */
static bool is_trusted(uid_t user) {
    return user == geteuid() || user == 0 || (user == root_owner() && user != overflow_user());
}

/* Whether a folder belongs to root on every system. In a user namespace without root its owner cannot be told from
 * other users. */
static bool is_system_folder(const char *real, uid_t user) {
    static const char *const folders[] = {"/", "/home", "/root", "/run", "/run/user", "/tmp", "/var", "/var/tmp"};
    for (size_t index = 0; index < sizeof folders / sizeof *folders; index++)
        if (strcmp(real, folders[index]) == 0)
            return user == root_owner() && user == overflow_user();
    return false;
}

/* Whether only trusted users can rename or replace files of trusted users in a folder. */
static bool is_safe_parent(const struct stat *found, const char *real) {
    return (is_trusted(found->st_uid) || is_system_folder(real, found->st_uid)) &&
           (!(found->st_mode & (S_IWGRP | S_IWOTH)) || (found->st_mode & S_ISVTX));
}

/* Open a folder for lookups. Check every folder of its path, and resolve every link here. Return -1 if it is not safe.
 * `real` is set to the path without links. Nobody else can change it, so it keeps referring to the same folder. */
static int open_safe(const char *path, char **real) {
    struct stat found;
    char target[PATH_MAX];
    const char *rest = path;
    int links = 0, next, folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    *real = text("/");
    for (;; folder = next) {
        if (folder < 0 || fstat(folder, &found) != 0)
            break;
        if (!is_safe_parent(&found, *real)) {
            bool ours = is_trusted(found.st_uid) || is_system_folder(*real, found.st_uid);
            add_reason(path, text(ours ? "other users can rename files in %s" : "%s belongs to another user", *real));
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
            bool ours = is_trusted(found.st_uid) || (strcmp(*real, "/") == 0 && is_system_folder("/", found.st_uid));
            if (!ours || ++links > 40 || size < 0) {
                add_reason(path, text("%s in %s is a link of another user, or a broken link", name, *real));
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
    add_reason(path, strerror(errno));
    return -1;
}

static bool forbids_programs(int folder) {
    struct statvfs found;
    return fstatvfs(folder, &found) == 0 && (found.f_flag & ST_NOEXEC);
}

/* ---- checking, filling and removing a folder ------------------------------------------------------------------ */

/* Read the stamp of a file; false when it is not a regular file that only this user can write to. */
static bool read_stamp(int folder, const char *name, struct stamp *seen) {
    struct stat found;
    if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(found.st_mode) ||
        found.st_uid != geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)))
        return false;
    *seen = (struct stamp){found.st_ino, found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec,
                           found.st_ctim.tv_sec, found.st_ctim.tv_nsec};
    return true;
}

/* Open and lock the stamp of a complete folder; -1 for others. A run holds the lock, which marks the folder as used. */
static int open_complete(int base, const char *name) {
    struct stat found;
    struct stamp written[COUNT], seen;
    int stamp = -1, folder = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return -1;
    if (fstat(folder, &found) == 0 && is_private(&found))
        stamp = openat(folder, "stamp", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool complete = stamp >= 0 && flock(stamp, LOCK_SH | LOCK_NB) == 0 && fstat(stamp, &found) == 0 &&
                    found.st_size == sizeof written && pread(stamp, written, sizeof written, 0) == sizeof written;
    for (size_t index = 0; complete && index < COUNT; index++)
        complete = read_stamp(folder, parts[index].name, &seen) && seen.size == parts[index].size &&
                   memcmp(&seen, &written[index], sizeof seen) == 0;
    close(folder);
    if (!complete && stamp >= 0) {
        close(stamp);
        return -1;
    }
    if (complete && time(NULL) - found.st_mtim.tv_sec > UNUSED_FOR / 7)
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

/* Remove unused folders of a base: those of versions that were not used for long, and those of killed runs. */
static void remove_unused(int base, const char *prefix, long min_age) {
    int copy = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        struct stat found;
        const char *name = entry->d_name;
        bool has_our_name = *prefix ? strncmp(name, prefix, strlen(prefix)) == 0
                                    : strspn(name, "0123456789abcdef") == strlen(FOLDER) && strcmp(name, FOLDER) != 0;
        if (!has_our_name || fstatat(base, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !is_private(&found))
            continue;
        char *path = text("%s/stamp", name), *part = strstr(name, ".part");
        int stamp = openat(base, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        bool is_finished = stamp >= 0 && !part && !*prefix && fstat(stamp, &found) == 0;
        if (time(NULL) - found.st_mtime >= (is_finished ? UNUSED_FOR : min_age) &&
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

/* Unpack all parts to an empty folder, the stamp last. After a failure, errno is the reason, or 0 when the executable
 * is damaged. */
static bool unpack(int folder) {
    struct stamp written[COUNT];
    size_t total = 0, offset = 0;
    for (size_t index = 0; index < COUNT; index++)
        total += parts[index].size;
    char *content = malloc(total), *block = malloc(PACKED);
    errno = content && block ? 0 : ENOMEM;
    bool good = content && block && pread(executable, block, PACKED, LINKED) == PACKED &&
                ZSTD_decompress(content, total, block, PACKED) == total;
    free(block);
    memset(written, 0, sizeof written);
    for (size_t index = 0; good && index < COUNT; offset += parts[index++].size)
        good = make_folders_of(folder, parts[index].name) &&
               write_file(folder, parts[index].name, parts[index].mode, content + offset, parts[index].size) &&
               read_stamp(folder, parts[index].name, &written[index]);
    free(content);
    return good && write_file(folder, "stamp", 0600, (char *)written, sizeof written);
}

static bool fill(int base, const char *name, const char *path) {
    if (mkdirat(base, name, 0700) != 0)
        return add_reason(path, strerror(errno));
    int folder = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool good = folder >= 0 && unpack(folder);
    if (!good)
        add_reason(path, errno ? strerror(errno) : DAMAGED);
    if (folder >= 0)
        close(folder);
    if (!good)
        remove_tree(base, name);
    return good;
}

/* ---- running the program of a folder -------------------------------------------------------------------------- */

/* Whether the dynamic loader or the C library would read a variable of the user's environment. Such variables are
 * renamed, and bootstrap.py restores them before any other code reads them. */
static bool is_for_loaders(const char *variable) {
    static const char *const names[] = {"LC_ALL=", "LOCPATH=", "GCONV_PATH=", "GLIBC_TUNABLES="};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (strncmp(variable, names[index], strlen(names[index])) == 0)
            return true;
    return strncmp(variable, "LD_", 3) == 0;
}

/* Replace this process with the program in a folder; return only when that fails. */
static void run(const char *folder, int stamp, int watched, char **arguments) {
    size_t count = 0, variables = 0, used = 0;
    while (arguments[count])
        count++;
    while (environ[variables])
        variables++;
    char **environment = calloc(variables + 3, sizeof *environment), **command = calloc(count + 6, sizeof *command);
    if (!environment || !command)
        abort();
    for (size_t index = 0; index < variables; index++)
        environment[used++] = is_for_loaders(environ[index]) ? text(HIDDEN "%s", environ[index]) : environ[index];
    environment[used++] = "LC_ALL=C"; /* otherwise the C library would load the host's locales and converters */
    environment[used++] = text("_IMQ_DESCRIPTORS=%d,%d,%d", executable, stamp, watched);
    used = 0;
    command[used++] = text("%s/" LOADER, folder);
    command[used++] = "--inhibit-cache";
    command[used++] = "--library-path";
    command[used++] = text("%s/lib", folder);
    command[used++] = text("%s/" PROGRAM, folder);
    memcpy(command + used, arguments + 1, (count ? count - 1 : 0) * sizeof *command);
    fcntl(executable, F_SETFD, 0);
    fcntl(stamp, F_SETFD, 0);
    fcntl(watched, F_SETFD, 0);
    umask(mask);
    execve(command[0], command, environment);
    umask(077);
    add_reason(folder, errno == EACCES ? "programs cannot run there" : strerror(errno));
}

/* ---- choosing a folder ---------------------------------------------------------------------------------------- */

/* Open the base folder `name` in `parent`, and create it when it is missing; -1 if it is not suitable. `path` is set to
 * its path. */
static int open_base(const char *parent, const char *name, char **path) {
    struct stat found;
    int folder = open_safe(parent, path);
    if (folder < 0)
        return -1;
    *path = text("%s/%s", strcmp(*path, "/") == 0 ? "" : *path, name);
    if (mkdirat(folder, name, 0700) != 0 && errno != EEXIST) {
        add_reason(*path, strerror(errno));
        close(folder);
        return -1;
    }
    int base = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int problem = errno;
    close(folder);
    errno = problem;
    const char *reason = base < 0                                          ? strerror(errno)
                         : fstat(base, &found) != 0 || !is_private(&found) ? "other users own it or can write to it"
                         : forbids_programs(base)                          ? "programs cannot run there (noexec)"
                                                                           : NULL;
    if (!reason)
        return base;
    add_reason(*path, reason);
    if (base >= 0)
        close(base);
    return -1;
}

/* Create a folder if it is missing and its parent is safe. */
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

/* Take the lock of a base, or give up after ten seconds. Filling a folder takes about one. */
static int lock(int base, const char *path) {
    int file = openat(base, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    for (int tries = 0; file >= 0 && tries < 1000; tries++) {
        if (flock(file, LOCK_EX | LOCK_NB) == 0)
            return file;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    }
    add_reason(path, strerror(errno));
    if (file >= 0)
        close(file);
    return -1;
}

/* Run from a folder that is kept in `parent`/`name`; return if that base is not suitable. */
static void run_kept(const char *parent, const char *name, char **arguments) {
    char *path;
    int base = open_base(parent, name, &path);
    if (base < 0)
        return;
    int stamp = open_complete(base, FOLDER);
    if (stamp < 0) {
        int locked = lock(base, path);
        if (locked >= 0 && (stamp = open_complete(base, FOLDER)) < 0) {
            remove_unused(base, "", 0);
            remove_tree(base, FOLDER);
            if (fill(base, FOLDER ".part", path) && renameat(base, FOLDER ".part", base, FOLDER) != 0)
                add_reason(path, strerror(errno));
            if ((stamp = open_complete(base, FOLDER)) < 0)
                add_reason(path, "files changed after they were unpacked");
        }
        if (locked >= 0)
            close(locked);
    }
    if (stamp >= 0)
        run(text("%s/" FOLDER, path), stamp, -1, arguments);
    close(base);
}

/* Fork a process that waits until all copies of the other end of a pipe are closed, and then removes a folder. */
static void watch(int ends[2], int parent, const char *name) {
    if (fork() != 0)
        return;
    setsid();
    if (chdir("/") != 0) /* otherwise the file system of the working folder could not be unmounted */
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

/* Run from a new folder for this run only. */
static void run_private(const char *temporary, char **arguments) {
    char *real;
    int safe = open_safe(temporary, &real), ends[2];
    if (safe < 0)
        return;
    int parent = openat(safe, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 || pipe2(ends, O_CLOEXEC) != 0) {
        add_reason(temporary, strerror(errno));
        return;
    }
    close(safe);
    if (forbids_programs(parent)) {
        add_reason(temporary, "programs cannot run there (noexec)");
        return;
    }
    char *prefix = text("imq-%u.", geteuid()), *path = text("%s/%sXXXXXX", strcmp(real, "/") == 0 ? "" : real, prefix);
    remove_unused(parent, prefix, MAX_START);
    if (!mkdtemp(path)) {
        add_reason(temporary, strerror(errno));
        return;
    }
    const char *name = strrchr(path, '/') + 1;
    watch(ends, parent, name);
    close(ends[0]);
    int base = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (base >= 0 && unpack(base)) {
        int stamp = open_complete(parent, name);
        if (stamp >= 0)
            run(path, stamp, above_streams(ends[1]), arguments);
    } else
        add_reason(temporary, errno ? strerror(errno) : DAMAGED);
}

static const char *absolute_path(const char *variable) {
    const char *value = getenv(variable);
    return value && value[0] == '/' ? value : NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *base = getenv("IMQ_CACHE"), *home = absolute_path("HOME"), *cache = absolute_path("XDG_CACHE_HOME");
    const char *temporary = absolute_path("TMPDIR") ? absolute_path("TMPDIR") : "/tmp";
    if (getauxval(AT_SECURE)) {
        fprintf(stderr, "error[start]: imq does not run set-user-ID or with file capabilities\n");
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
    if (base && base[0] == '/') {
        make_safe(base);
        run_kept(base, "imq", argv);
    } else if (!base || strcmp(base, "off") != 0) {
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
            "error[start]: imq found no suitable folder to unpack itself to\n%s"
            "hint: set IMQ_CACHE or TMPDIR to a writable folder that allows programs\n",
            reasons);
    return FAILED;
}
