# Own build first (-DBORINGSSL_ROOT=<prefix>), else Debian's android-libboringssl-dev.
# Sets BoringSSL_FOUND, BoringSSL_API_VERSION and the targets BoringSSL::SSL, BoringSSL::Crypto.
set(BORINGSSL_ROOT "" CACHE PATH "prefix of an own BoringSSL build (include/, lib/)")
if(BORINGSSL_ROOT)
  # Only there: never fall back silently to another libssl.
  find_path(BoringSSL_INCLUDE_DIR openssl/is_boringssl.h
            PATHS "${BORINGSSL_ROOT}/include" NO_DEFAULT_PATH)
  find_library(BoringSSL_SSL_LIBRARY    NAMES libssl.a libssl.so
               PATHS "${BORINGSSL_ROOT}" PATH_SUFFIXES lib lib64 ssl . NO_DEFAULT_PATH)
  find_library(BoringSSL_CRYPTO_LIBRARY NAMES libcrypto.a libcrypto.so
               PATHS "${BORINGSSL_ROOT}" PATH_SUFFIXES lib lib64 crypto . NO_DEFAULT_PATH)
else()
  find_path(BoringSSL_INCLUDE_DIR openssl/is_boringssl.h
            PATHS /usr/include/android NO_DEFAULT_PATH)
  find_library(BoringSSL_SSL_LIBRARY NAMES ssl
               PATHS "/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android" NO_DEFAULT_PATH)
  find_library(BoringSSL_CRYPTO_LIBRARY NAMES crypto
               PATHS "/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android" NO_DEFAULT_PATH)
endif()
if(BoringSSL_INCLUDE_DIR)
  file(STRINGS "${BoringSSL_INCLUDE_DIR}/openssl/base.h" _v REGEX "#define BORINGSSL_API_VERSION [0-9]+")
  string(REGEX REPLACE ".*VERSION ([0-9]+).*" "\\1" BoringSSL_API_VERSION "${_v}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(BoringSSL
  REQUIRED_VARS BoringSSL_SSL_LIBRARY BoringSSL_CRYPTO_LIBRARY BoringSSL_INCLUDE_DIR
  VERSION_VAR BoringSSL_API_VERSION)
if(BoringSSL_FOUND AND NOT TARGET BoringSSL::Crypto)
  find_package(Threads REQUIRED)
  add_library(BoringSSL::Crypto UNKNOWN IMPORTED)
  set_target_properties(BoringSSL::Crypto PROPERTIES
    IMPORTED_LOCATION "${BoringSSL_CRYPTO_LIBRARY}" INTERFACE_LINK_LIBRARIES Threads::Threads)
  add_library(BoringSSL::SSL UNKNOWN IMPORTED)
  set_target_properties(BoringSSL::SSL PROPERTIES
    IMPORTED_LOCATION "${BoringSSL_SSL_LIBRARY}" INTERFACE_LINK_LIBRARIES BoringSSL::Crypto)
  # -I, not -isystem: an IMPORTED target's includes become -isystem, which come AFTER any -I
  # that some other library adds, so OpenSSL's openssl/ssl.h could win.
  foreach(_t BoringSSL::Crypto BoringSSL::SSL)
    set_target_properties(${_t} PROPERTIES
      INTERFACE_COMPILE_OPTIONS "-I${BoringSSL_INCLUDE_DIR}")
  endforeach()
  if(BoringSSL_CRYPTO_LIBRARY MATCHES "\\.a$")
    # Both are C++ without RTTI and exceptions; those of a current BoringSSL need some libstdc++ symbols.
    set_property(TARGET BoringSSL::Crypto APPEND PROPERTY INTERFACE_LINK_LIBRARIES stdc++)
  endif()
endif()
mark_as_advanced(BoringSSL_INCLUDE_DIR BoringSSL_SSL_LIBRARY BoringSSL_CRYPTO_LIBRARY)
