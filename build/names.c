/* Preloaded by launcher.c: has the C library look names up by itself, in files and DNS, whatever the host's
 * nsswitch.conf says. That names libraries of the host, which were made for another C library. Since version 2.34 the
 * C library needs none for these two. */
#include <netdb.h>
#include <nss.h>

__attribute__((constructor)) static void look_up_names_here(void) {
    static const char *const databases[] = {"passwd", "group", "shadow", "services", "protocols", "networks", "ethers"};
    for (unsigned index = 0; index < sizeof databases / sizeof *databases; index++)
        __nss_configure_lookup(databases[index], "files");
    __nss_configure_lookup("hosts", "files dns");
}
