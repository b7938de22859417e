/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC-32C (Castagnoli), as iSCSI, ext4 and Btrfs use it. ma_crc32c("123456789", 9) is 0xe3069283. */
#ifndef MA_CRC32C_H
#define MA_CRC32C_H

#include "common/base.h"

uint32_t ma_crc32c(const void *data, size_t bytes);

#endif /* MA_CRC32C_H */
